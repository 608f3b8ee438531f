// A communicator: the ranks, the segment of memory that they share, and how they wait for each other.
#pragma once

#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "interface.h"

struct UniqueId {
    char name[128];
};

enum Result {
    SUCCESS = 0,
    UNHANDLED_CUDA_ERROR = 1,
    SYSTEM_ERROR = 2,
    INTERNAL_ERROR = 3,
    INVALID_ARGUMENT = 4,
    INVALID_USAGE = 5,
    REMOTE_ERROR = 6,
};
enum Type { I8, U8, I32, U32, I64, U64, F16, F32, F64, BF16, TYPES };
enum Operation { SUM, PROD, MAX, MIN, AVG, OPERATIONS };
enum Kind { ALL_REDUCE, REDUCE, BROADCAST, ALL_GATHER, REDUCE_SCATTER, SEND, RECV };

inline const char *const kind_names[] = {"AllReduce", "Reduce", "Broadcast", "AllGather", "ReduceScatter", "Send", "Recv"};
inline const char *const type_names[] = {"i8", "u8", "i32", "u32", "i64", "u64", "f16", "f32", "f64", "bf16"};
inline const char *const operation_names[] = {"sum", "prod", "max", "min", "avg"};
inline const size_t type_sizes[] = {1, 1, 4, 4, 8, 8, 2, 4, 8, 2};

constexpr size_t CHUNK = 1 << 20, LETTER = 256 << 10;
constexpr int MOST = 64;

struct Call {
    int kind, type, operation, root;  // root: of point to point, the other rank
    uint64_t count;

    size_t bytes() const { return count * type_sizes[type]; }
    std::string text() const {
        std::string s = std::string(kind_names[kind]) + " of " + std::to_string(count) + " " + type_names[type];
        if (kind == ALL_REDUCE || kind == REDUCE || kind == REDUCE_SCATTER)
            s += std::string(" ") + operation_names[operation];
        if (kind == REDUCE || kind == BROADCAST) s += ", root " + std::to_string(root);
        if (kind == SEND) s += " to rank " + std::to_string(root);
        if (kind == RECV) s += " from rank " + std::to_string(root);
        return s;
    }
};

// All of the segment starts as zeros, as a new one is.
struct Seat {
    std::atomic<int> taken;
    std::atomic<int> left;
    std::atomic<uint64_t> arrived;  // how often the rank came to a barrier
    int process, device;
    uint64_t host;
    Call call;
    std::atomic<uint64_t> calls;
};

struct Letterbox {
    std::atomic<uint64_t> posted, accepted;  // messages
    std::atomic<uint64_t> written, read;     // chunks of them
    Call call;
    char data[LETTER];
};

struct Segment {
    std::atomic<int> ranks;
    std::atomic<uint32_t> bell;  // rung when something changes; who waits sleeps on it
    std::atomic<int> broken;     // 1 while the reason is written, 2 then
    char why[512];
    Seat seats[MOST];

    char *slot(int rank) { return (char *)this + 65536 + rank * CHUNK; }
    Letterbox &letters(int from, int to) {
        return ((Letterbox *)slot(ranks))[from * ranks + to];
    }
    static size_t size(int n) { return 65536 + n * CHUNK + size_t(n) * n * sizeof(Letterbox); }
};
static_assert(sizeof(Segment) <= 65536);

// A thread's own: with ranks as threads, one rank's failure is not to hide another's.
inline thread_local std::string last;

inline int limit() {
    const char *given = getenv("SOFTWARE_CUDA_NCCL_SECONDS");
    return given && *given ? atoi(given) : 60;
}

inline int complain(int code, const std::string &what) {
    fprintf(stderr, "software-cuda: nccl: %s\n", what.c_str());
    last = what;
    return code;
}

typedef std::chrono::steady_clock Clock;

struct Comm {
    std::string name;
    int rank, ranks, device;
    Segment *segment = nullptr;
    uint64_t round = 0;
    std::atomic<int> error{SUCCESS};

    std::string self() const { return "rank " + std::to_string(rank) + " of " + std::to_string(ranks); }
    Seat &seat(int r) { return segment->seats[r]; }

    void ring() {
        segment->bell.fetch_add(1);
        syscall(SYS_futex, &segment->bell, FUTEX_WAKE, INT32_MAX, nullptr, nullptr, 0);
    }

    // The first reason stays; every rank that waits learns of it.
    int give_up(int code, const std::string &what) {
        int whole = 0;
        if (segment->broken.compare_exchange_strong(whole, 1)) {
            snprintf(segment->why, sizeof segment->why, "%s", what.c_str());
            segment->broken = 2;
            shm_unlink(name.c_str());
        }
        ring();
        error = code;
        return complain(code, self() + ": " + what);
    }

    int told(const std::string &doing) {
        while (segment->broken == 1) usleep(100);
        error = REMOTE_ERROR;
        return complain(REMOTE_ERROR, self() + ": " + doing + " ends because another rank gave up: " + segment->why);
    }

    // Waits until `missing` names nobody. What is waited for is tried again after every ring.
    int wait(const std::string &doing, const std::function<std::vector<int>()> &missing) {
        auto until = Clock::now() + std::chrono::seconds(limit());
        for (;;) {
            uint32_t heard = segment->bell;
            std::vector<int> absent = missing();
            if (absent.empty()) return SUCCESS;
            if (segment->broken) return told(doing);
            bool late = Clock::now() > until;
            std::string who;
            for (int r : absent) {
                Seat &s = seat(r);
                const char *why = nullptr;
                if (s.taken && s.left)
                    why = "has destroyed its communicator";
                else if (s.taken && s.process != getpid() && kill(s.process, 0) && errno == ESRCH)
                    why = "has ended";
                // It may have done its part before it went.
                if (why && missing() == absent)
                    return give_up(REMOTE_ERROR, doing + ": rank " + std::to_string(r) + " (process " +
                                                     std::to_string(s.process) + ") " + why);
                who += (who.empty() ? "rank " : ", rank ") + std::to_string(r);
                if (s.calls)
                    who += " (its last call, its number " + std::to_string(s.calls) + ": " + s.call.text() + ")";
                else if (s.taken)
                    who += " (no call yet)";
            }
            if (late)
                return give_up(REMOTE_ERROR, doing + ", number " + std::to_string(seat(rank).calls) +
                                                 " of this rank: " + who + " did not come within " +
                                                 std::to_string(limit()) + " s");
            timespec nap = {0, 50'000'000};
            syscall(SYS_futex, &segment->bell, FUTEX_WAIT, heard, &nap, nullptr, 0);
        }
    }

    int barrier(const std::string &doing) {
        seat(rank).arrived = ++round;
        ring();
        return wait(doing, [&] {
            std::vector<int> absent;
            for (int r = 0; r < ranks; r++)
                if (seat(r).arrived < round) absent.push_back(r);
            return absent;
        });
    }

    void announce(const Call &call) {
        seat(rank).call = call;
        seat(rank).calls++;
    }

    int open(const UniqueId &id) {
        name.assign(id.name, strnlen(id.name, sizeof id.name));
        if (name.compare(0, 15, "/software-cuda-") != 0)
            return complain(INVALID_ARGUMENT, self() + ": the unique id is none of ncclGetUniqueId");
        int f = shm_open(name.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
        struct stat now;
        size_t size = Segment::size(ranks);
        if (f < 0 || fstat(f, &now) || (size_t(now.st_size) < size && ftruncate(f, size)))
            return complain(SYSTEM_ERROR, name + ": " + strerror(errno));
        void *at = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, f, 0);
        close(f);
        if (at == MAP_FAILED) return complain(SYSTEM_ERROR, name + ": " + strerror(errno));
        segment = (Segment *)at;
        int fresh = 0;
        if (!segment->ranks.compare_exchange_strong(fresh, ranks) && fresh != ranks)
            return give_up(INVALID_ARGUMENT, "another rank says that they are " + std::to_string(fresh));
        Seat &s = seat(rank);
        if (s.taken.exchange(1)) return give_up(INVALID_USAGE, "two callers are rank " + std::to_string(rank));
        s.process = getpid();
        s.device = software_physical(device);
        const char *host = getenv("NCCL_HOSTID");
        s.host = host ? std::hash<std::string>()(host) : 0;
        if (int code = barrier("ncclCommInitRank")) return code;
        for (int r = 0; r < ranks; r++)
            for (int q = 0; q < r; q++)
                if (seat(r).host == seat(q).host && seat(r).device == seat(q).device)
                    return give_up(INVALID_USAGE, "ranks " + std::to_string(q) + " and " + std::to_string(r) +
                                                      " are both on device " + std::to_string(seat(r).device));
        if (rank == 0) shm_unlink(name.c_str());  // all are in
        return SUCCESS;
    }

    ~Comm() {
        if (!segment) return;
        seat(rank).left = 1;
        ring();
        munmap(segment, Segment::size(ranks));
    }
};
