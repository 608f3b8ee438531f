// Several devices and NCCL: ranks as threads and as processes, every kind, type and operation, groups, and what must
// fail with words. Prints a line per check; the exit code says whether all held. build.sh builds it.

#include <immintrin.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

struct Id {
    char name[128];
};
typedef unsigned long long Ptr;
typedef void *Any;

extern "C" {
int cuInit(unsigned);
int cuDeviceGetCount(int *);
int cuDeviceGet(int *, int);
int cuDevicePrimaryCtxRetain(Any *, int);
int cuCtxSetCurrent(Any);
int cuCtxGetDevice(int *);
int cuStreamCreate(Any *, unsigned);
int cuStreamSynchronize(Any);
int cuStreamWaitEvent(Any, Any, unsigned);
int cuEventCreate(Any *, unsigned);
int cuEventRecord(Any, Any);
int cuEventSynchronize(Any);
int cuEventDestroy_v2(Any);
int cuMemAlloc_v2(Ptr *, size_t);
int cuMemAllocAsync(Ptr *, size_t, Any);
int cuMemFree_v2(Ptr);
int cuMemGetInfo_v2(size_t *, size_t *);
int cuMemAllocHost_v2(Any *, size_t);
int cuMemcpyHtoDAsync_v2(Ptr, const void *, size_t, Any);
int cuMemcpyDtoHAsync_v2(void *, Ptr, size_t, Any);
int cuMemcpyDtoDAsync_v2(Ptr, Ptr, size_t, Any);
int cuMemcpyPeerAsync(Ptr, Any, Ptr, Any, size_t, Any);
int cuMemsetD8Async(Ptr, unsigned char, size_t, Any);
int cuDeviceCanAccessPeer(int *, int, int);
int cuCtxEnablePeerAccess(Any, unsigned);
int cuModuleLoadData(Any *, const void *);
int cuModuleGetFunction(Any *, Any, const char *);
int cuLaunchKernel(Any, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, Any, Any *, Any *);
int nvrtcCreateProgram(Any *, const char *, const char *, int, const char *const *, const char *const *);
int nvrtcCompileProgram(Any, int, const char *const *);
int nvrtcGetPTXSize(Any, size_t *);
int nvrtcGetPTX(Any, char *);
int ncclGetVersion(int *);
int ncclGetUniqueId(Id *);
int ncclCommInitRank(Any *, int, Id, int);
int ncclCommInitAll(Any *, int, const int *);
int ncclCommDestroy(Any);
int ncclCommAbort(Any);
int ncclCommCount(Any, int *);
int ncclCommUserRank(Any, int *);
int ncclCommCuDevice(Any, int *);
int ncclCommGetAsyncError(Any, int *);
const char *ncclGetErrorString(int);
const char *ncclGetLastError(Any);
int ncclGroupStart();
int ncclGroupEnd();
int ncclAllReduce(const void *, void *, size_t, int, int, Any, Any);
int ncclReduce(const void *, void *, size_t, int, int, int, Any, Any);
int ncclBroadcast(const void *, void *, size_t, int, int, Any, Any);
int ncclAllGather(const void *, void *, size_t, int, Any, Any);
int ncclReduceScatter(const void *, void *, size_t, int, int, Any, Any);
int ncclSend(const void *, size_t, int, int, Any, Any);
int ncclRecv(void *, size_t, int, int, Any, Any);
}

enum { I8, U8, I32, U32, I64, U64, F16, F32, F64, BF16 };
enum { SUM, PROD, MAX, MIN, AVG };
const char *types[] = {"i8", "u8", "i32", "u32", "i64", "u64", "f16", "f32", "f64", "bf16"};
const size_t sizes[] = {1, 1, 4, 4, 8, 8, 2, 4, 8, 2};

std::atomic<int> wrong{0};

#define CHECK(what)                                                                                      \
    do {                                                                                                 \
        if (!(what)) {                                                                                   \
            if (wrong++ < 20) fprintf(stderr, "line %d: not so: %s (%s)\n", __LINE__, #what, ncclGetLastError(nullptr)); \
        }                                                                                                \
    } while (0)

// A value in the bytes of its type, and back.
void store(int type, void *at, double v) {
    float f = float(v);
    uint32_t u;
    memcpy(&u, &f, 4);
    switch (type) {
        case I8: *(int8_t *)at = int8_t(int64_t(v)); break;
        case U8: *(uint8_t *)at = uint8_t(int64_t(v)); break;
        case I32: *(int32_t *)at = int32_t(int64_t(v)); break;
        case U32: *(uint32_t *)at = uint32_t(int64_t(v)); break;
        case I64: *(int64_t *)at = int64_t(v); break;
        case U64: *(uint64_t *)at = uint64_t(int64_t(v)); break;
        case F16: *(uint16_t *)at = _cvtss_sh(f, 0); break;
        case F32: *(float *)at = f; break;
        case F64: *(double *)at = v; break;
        case BF16: *(uint16_t *)at = uint16_t((u + 0x8000) >> 16); break;
    }
}

double load(int type, const void *at) {
    uint32_t u;
    float f;
    switch (type) {
        case I8: return *(int8_t *)at;
        case U8: return *(uint8_t *)at;
        case I32: return *(int32_t *)at;
        case U32: return *(uint32_t *)at;
        case I64: return double(*(int64_t *)at);
        case U64: return double(*(uint64_t *)at);
        case F16: return _cvtsh_ss(*(uint16_t *)at);
        case F32: return *(float *)at;
        case F64: return *(double *)at;
        default: u = uint32_t(*(uint16_t *)at) << 16; memcpy(&f, &u, 4); return f;
    }
}

bool is_float(int type) { return type == F16 || type == F32 || type == F64 || type == BF16; }
bool is_signed(int type) { return is_float(type) || type == I8 || type == I32 || type == I64; }

// What rank r holds at i: small, negative where the type allows it.
double value(int type, int r, size_t i) {
    double v = double((i * 7 + r * 3) % 5) + 1;
    return is_signed(type) && (i + r) % 3 == 0 ? -v : v;
}

double expected(int type, int op, int ranks, size_t i) {
    double out = value(type, 0, i);
    for (int r = 1; r < ranks; r++) {
        double v = value(type, r, i);
        out = op == PROD ? out * v : op == MAX ? std::max(out, v) : op == MIN ? std::min(out, v) : out + v;
    }
    if (op == AVG) out = is_float(type) ? out / ranks : std::trunc(out / ranks);
    char bytes[8];
    store(type, bytes, out);  // wraps like the type
    return load(type, bytes);
}

bool near(int type, double a, double b) {
    double step = type == F16 ? 2e-3 : type == BF16 ? 2e-2 : type == F32 ? 1e-6 : type == F64 ? 1e-14 : 0;
    return std::fabs(a - b) <= step * (1 + std::fabs(b));
}

// A rank's device, stream and communicator.
struct Rank {
    int rank, ranks;
    Any context, stream, comm = nullptr;

    Rank(int rank, int ranks) : rank(rank), ranks(ranks) {
        int device;
        CHECK(cuInit(0) == 0);
        CHECK(cuDeviceGet(&device, rank) == 0);
        CHECK(cuDevicePrimaryCtxRetain(&context, device) == 0);
        CHECK(cuCtxSetCurrent(context) == 0);
        CHECK(cuStreamCreate(&stream, 1) == 0);
    }
    int join(Id id) { return ncclCommInitRank(&comm, ranks, id, rank); }

    Ptr put(const std::vector<char> &bytes) {
        Ptr at;
        CHECK(cuMemAllocAsync(&at, std::max<size_t>(bytes.size(), 1), stream) == 0);
        CHECK(cuMemcpyHtoDAsync_v2(at, bytes.data(), bytes.size(), stream) == 0);
        return at;
    }
    std::vector<char> get(Ptr at, size_t bytes) {
        std::vector<char> out(bytes);
        CHECK(cuMemcpyDtoHAsync_v2(out.data(), at, bytes, stream) == 0);
        CHECK(cuStreamSynchronize(stream) == 0);
        return out;
    }
    Ptr values(int type, size_t count) {
        std::vector<char> bytes(count * sizes[type]);
        for (size_t i = 0; i < count; i++) store(type, bytes.data() + i * sizes[type], value(type, rank, i));
        return put(bytes);
    }
    Ptr room(size_t bytes) { return put(std::vector<char>(bytes, 0x55)); }
};

bool same(Rank &k, Ptr at, int type, size_t count, const std::function<double(size_t)> &want) {
    auto got = k.get(at, count * sizes[type]);
    for (size_t i = 0; i < count; i++)
        if (!near(type, load(type, got.data() + i * sizes[type]), want(i))) {
            fprintf(stderr, "rank %d, %s[%zu]: %g, not %g\n", k.rank, types[type], i,
                    load(type, got.data() + i * sizes[type]), want(i));
            return false;
        }
    return true;
}

// Every kind for a type and a count.
void kinds(Rank &k, int type, size_t n) {
    size_t bytes = n * sizes[type];
    int root = k.ranks - 1;
    for (int op : {SUM, PROD, MAX, MIN, AVG}) {
        auto want = [&](size_t i) { return expected(type, op, k.ranks, i); };
        Ptr in = k.values(type, n), out = k.room(bytes), all = k.values(type, n * k.ranks), part = k.room(bytes);
        CHECK(ncclAllReduce((void *)in, (void *)out, n, type, op, k.comm, k.stream) == 0);
        CHECK(same(k, out, type, n, want));
        CHECK(ncclReduce((void *)in, (void *)part, n, type, op, root, k.comm, k.stream) == 0);
        if (k.rank == root) CHECK(same(k, part, type, n, want));
        CHECK(ncclAllReduce((void *)in, (void *)in, n, type, op, k.comm, k.stream) == 0);
        CHECK(same(k, in, type, n, want));
        CHECK(ncclReduceScatter((void *)all, (void *)part, n, type, op, k.comm, k.stream) == 0);
        CHECK(same(k, part, type, n, [&](size_t i) { return expected(type, op, k.ranks, i + k.rank * n); }));
        for (Ptr p : {in, out, all, part}) CHECK(cuMemFree_v2(p) == 0);
    }
    Ptr in = k.values(type, n), out = k.room(bytes * k.ranks);
    CHECK(ncclAllGather((void *)in, (void *)out, n, type, k.comm, k.stream) == 0);
    CHECK(same(k, out, type, n * k.ranks, [&](size_t i) { return value(type, int(i / n), i % n); }));
    CHECK(ncclBroadcast((void *)in, (void *)out, n, type, 1, k.comm, k.stream) == 0);
    CHECK(same(k, out, type, n, [&](size_t i) { return value(type, 1, i); }));
    // A message to the next, alone: the first sends, the others pass it on.
    if (k.rank) CHECK(ncclRecv((void *)out, n, type, k.rank - 1, k.comm, k.stream) == 0);
    CHECK(k.rank == 0 || same(k, out, type, n, [&](size_t i) { return value(type, 0, i); }));
    if (k.rank + 1 < k.ranks)
        CHECK(ncclSend((void *)(k.rank ? out : in), n, type, k.rank + 1, k.comm, k.stream) == 0);
    for (Ptr p : {in, out}) CHECK(cuMemFree_v2(p) == 0);
}

void everything(Rank &k) {
    for (int type = I8; type <= BF16; type++)
        for (size_t n : {size_t(1), size_t(7), size_t(1000)}) kinds(k, type, n);
    kinds(k, F32, 600001);  // several chunks
    kinds(k, BF16, 0);
    int count, rank, device, current;
    CHECK(ncclCommCount(k.comm, &count) == 0 && count == k.ranks);
    CHECK(ncclCommUserRank(k.comm, &rank) == 0 && rank == k.rank);
    CHECK(ncclCommCuDevice(k.comm, &device) == 0 && cuCtxGetDevice(&current) == 0 && device == current);
}

void groups(Rank &k) {
    // A ring and all to all, with messages longer than a letter, two for each pair; collectives in the same group.
    size_t n = 200000;
    int next = (k.rank + 1) % k.ranks, before = (k.rank + k.ranks - 1) % k.ranks;
    Ptr in = k.values(F32, n), out = k.room(n * 4), a = k.room(n * 4), b = k.room(n * 4), all = k.room(n * 4 * k.ranks);
    CHECK(ncclGroupStart() == 0);
    CHECK(ncclSend((void *)in, n, F32, next, k.comm, k.stream) == 0);
    CHECK(ncclGroupStart() == 0);
    CHECK(ncclSend((void *)in, 5, F32, next, k.comm, k.stream) == 0);
    CHECK(ncclGroupEnd() == 0);
    CHECK(ncclRecv((void *)out, n, F32, before, k.comm, k.stream) == 0);
    CHECK(ncclRecv((void *)a, 5, F32, before, k.comm, k.stream) == 0);
    CHECK(ncclAllReduce((void *)in, (void *)b, n, F32, SUM, k.comm, k.stream) == 0);
    CHECK(ncclGroupEnd() == 0);
    CHECK(same(k, out, F32, n, [&](size_t i) { return value(F32, before, i); }));
    CHECK(same(k, a, F32, 5, [&](size_t i) { return value(F32, before, i); }));
    CHECK(same(k, b, F32, n, [&](size_t i) { return expected(F32, SUM, k.ranks, i); }));
    CHECK(ncclGroupStart() == 0);
    for (int r = 0; r < k.ranks; r++) {  // and to itself
        CHECK(ncclSend((void *)in, n, F32, r, k.comm, k.stream) == 0);
        CHECK(ncclRecv((void *)(all + r * n * 4), n, F32, r, k.comm, k.stream) == 0);
    }
    CHECK(ncclGroupEnd() == 0);
    CHECK(same(k, all, F32, n * k.ranks, [&](size_t i) { return value(F32, int(i / n), i % n); }));
    CHECK(ncclGroupEnd() == 5);  // without a start
}

// The calls of cubecl-cuda 0.10: CudaServer's init, comm_init, all_reduce, sync_collective, send and recv. Each server has a
// thread; a fence is an event that is destroyed once it is waited for.
void fence(Any from, Any to) {
    Any event;
    CHECK(cuEventCreate(&event, 0) == 0);
    CHECK(cuEventRecord(event, from) == 0);
    CHECK(cuStreamWaitEvent(to, event, 0) == 0);
    CHECK(cuEventDestroy_v2(event) == 0);
}

void as_cubecl(Rank &k) {
    Any comm_stream, pinned, event;
    CHECK(cuStreamCreate(&comm_stream, 1) == 0);
    size_t n = 4096;
    for (int type : {F32, F16, BF16})
        for (int op : {SUM, AVG}) {
            Ptr at = k.values(type, n);
            fence(k.stream, comm_stream);
            CHECK(ncclAllReduce((void *)at, (void *)at, n, type, op, k.comm, comm_stream) == 0);
            fence(comm_stream, k.stream);
            CHECK(cuMemAllocHost_v2(&pinned, n * sizes[type]) == 0);
            CHECK(cuMemcpyDtoHAsync_v2(pinned, at, n * sizes[type], k.stream) == 0);
            CHECK(cuEventCreate(&event, 0) == 0 && cuEventRecord(event, k.stream) == 0 && cuEventSynchronize(event) == 0);
            for (size_t i = 0; i < n; i++)
                CHECK(near(type, load(type, (char *)pinned + i * sizes[type]), expected(type, op, k.ranks, i)));
        }
    // Tensor::to_device from the first to the last, and back.
    for (auto [from, to] : {std::pair(0, k.ranks - 1), std::pair(k.ranks - 1, 0)}) {
        Ptr at = k.values(F32, n);
        if (k.rank == from) {
            fence(k.stream, comm_stream);
            CHECK(ncclSend((void *)at, n, F32, to, k.comm, comm_stream) == 0);
        }
        if (k.rank == to) {
            CHECK(ncclRecv((void *)at, n, F32, from, k.comm, comm_stream) == 0);
            fence(comm_stream, k.stream);
            CHECK(same(k, at, F32, n, [&, from = from](size_t i) { return value(F32, from, i); }));
        }
    }
}

// Runs a rank's part in threads of one process, or in processes.
void in_process(const std::function<void()> &f) {
    fflush(nullptr);
    pid_t child = fork();
    if (!child) {
        wrong = 0;
        f();
        exit(wrong ? 1 : 0);
    }
    int status;
    waitpid(child, &status, 0);
    if (status) wrong++;
}

void everywhere(const char *name, int ranks, const std::function<void(int, Id)> &f) {
    for (bool threads : {true, false}) {
        int before = wrong;
        Id id;
        ncclGetUniqueId(&id);
        if (threads)
            in_process([&] {
                std::vector<std::thread> all;
                for (int r = 0; r < ranks; r++) all.emplace_back(f, r, id);
                for (auto &t : all) t.join();
            });
        else {
            fflush(nullptr);
            for (int r = 0; r < ranks; r++)
                if (!fork()) {
                    wrong = 0;
                    f(r, id);
                    exit(wrong ? 1 : 0);
                }
            for (int r = 0, status; r < ranks; r++)
                if (wait(&status) < 0 || status) wrong++;
        }
        printf("%s %s, %d %s\n", wrong == before ? "ok    " : "FAILED", name, ranks, threads ? "threads" : "processes");
    }
}

void alone(const char *name, const std::function<void()> &f) {
    int before = wrong;
    in_process(f);
    printf("%s %s\n", wrong == before ? "ok    " : "FAILED", name);
}

bool says(const char *part) {
    bool found = strstr(ncclGetLastError(nullptr), part);
    if (!found) fprintf(stderr, "'%s' is not in '%s'\n", part, ncclGetLastError(nullptr));
    return found;
}

int main() {
    setvbuf(stdout, nullptr, _IOLBF, 0);
    setenv("SOFTWARE_CUDA_DEVICES", "4", 1);
    bool deferred = getenv("SOFTWARE_CUDA_DEFER");
    auto joined = [](void (*f)(Rank &)) {
        return [f](int r, int n, Id id) {
            Rank k(r, n);
            CHECK(k.join(id) == 0);
            f(k);
            CHECK(ncclCommDestroy(k.comm) == 0);
        };
    };
    for (int n : {4, 3, 1, 2}) {
        if (n > 1) everywhere("every kind, type and operation", n, [&](int r, Id id) { joined(everything)(r, n, id); });
        everywhere("groups", n, [&](int r, Id id) { joined(groups)(r, n, id); });
    }
    for (int n : {2, 4}) everywhere("the calls of cubecl", n, [&](int r, Id id) { joined(as_cubecl)(r, n, id); });

    alone("ncclCommInitAll, ranks of one thread", [] {
        Any comms[4];
        std::vector<Rank> ranks;
        for (int r = 0; r < 4; r++) ranks.emplace_back(r, 4);
        CHECK(ncclCommInitAll(comms, 4, nullptr) == 0);
        std::vector<Ptr> out;
        CHECK(ncclGroupStart() == 0);
        for (auto &k : ranks) {
            cuCtxSetCurrent(k.context);
            Ptr in = k.values(F32, 1000);
            out.push_back(k.room(4000));
            CHECK(ncclAllReduce((void *)in, (void *)out.back(), 1000, F32, SUM, comms[k.rank], k.stream) == 0);
        }
        CHECK(ncclGroupEnd() == 0);
        for (auto &k : ranks)
            CHECK(same(k, out[k.rank], F32, 1000, [](size_t i) { return expected(F32, SUM, 4, i); }));
        for (auto c : comms) CHECK(ncclCommDestroy(c) == 0);
    });

    setenv("SOFTWARE_CUDA_NCCL_SECONDS", "1", 1);
    everywhere("counts that differ", 4, [](int r, Id id) {
        Rank k(r, 4);
        CHECK(k.join(id) == 0);
        Ptr at = k.room(64);
        int code = ncclAllReduce((void *)at, (void *)at, r == 2 ? 8 : 16, F32, SUM, k.comm, k.stream), error;
        CHECK(code == 4 || code == 6);
        CHECK(says("AllReduce of 16 f32 sum") && says("AllReduce of 8 f32 sum"));
        CHECK(ncclCommGetAsyncError(k.comm, &error) == 0 && error != 0);
        CHECK(ncclAllReduce((void *)at, (void *)at, 16, F32, SUM, k.comm, k.stream) != 0);
        CHECK(ncclCommAbort(k.comm) == 0);
    });
    everywhere("kinds that differ", 2, [](int r, Id id) {
        Rank k(r, 2);
        CHECK(k.join(id) == 0);
        Ptr at = k.room(64);
        CHECK((r ? ncclAllReduce((void *)at, (void *)at, 16, F32, SUM, k.comm, k.stream)
                 : ncclBroadcast((void *)at, (void *)at, 16, F32, 0, k.comm, k.stream)) != 0);
        CHECK(says("ranks disagree"));
    });
    everywhere("a message of another size", 2, [](int r, Id id) {
        Rank k(r, 2);
        CHECK(k.join(id) == 0);
        Ptr at = k.room(64);
        CHECK((r ? ncclRecv((void *)at, 8, F32, 0, k.comm, k.stream) : ncclSend((void *)at, 16, F32, 1, k.comm, k.stream)) != 0);
        CHECK(says("ranks disagree"));
    });
    everywhere("a missing rank", 4, [](int r, Id id) {
        Rank k(r, 4);
        CHECK(k.join(id) == 0);
        Ptr at = k.room(64);
        CHECK(ncclAllReduce((void *)at, (void *)at, 16, F32, SUM, k.comm, k.stream) == 0);
        if (r == 3) return (void)usleep(2500000);
        CHECK(ncclBroadcast((void *)at, (void *)at, 16, F32, 0, k.comm, k.stream) == 6);
        CHECK(says("rank 3 (its last call, its number 1: AllReduce of 16 f32 sum) did not come within 1 s"));
    });
    everywhere("nobody receives", 2, [](int r, Id id) {
        Rank k(r, 2);
        CHECK(k.join(id) == 0);
        Ptr at = k.room(64);
        if (r == 1) return (void)usleep(2500000);
        CHECK(ncclSend((void *)at, 16, F32, 1, k.comm, k.stream) == 6);
        CHECK(says("Send of 16 f32 to rank 1"));
    });
    everywhere("a rank that never joins", 3, [](int r, Id id) {
        Rank k(r, 3);
        if (r == 1) return;
        CHECK(k.join(id) == 6);
        CHECK(says("rank 1 did not come within 1 s"));
    });
    everywhere("two ranks on a device", 2, [](int r, Id id) {
        Rank k(1, 2);
        k.rank = r;
        CHECK(k.join(id) != 0);
        CHECK(says("ranks 0 and 1 are both on device 1"));
    });
    setenv("SOFTWARE_CUDA_NCCL_SECONDS", "20", 1);
    everywhere("a rank that leaves", 2, [](int r, Id id) {
        Rank k(r, 2);
        CHECK(k.join(id) == 0);
        Ptr at = k.room(64);
        if (r == 1) return (void)ncclCommDestroy(k.comm);
        CHECK(ncclAllReduce((void *)at, (void *)at, 16, F32, SUM, k.comm, k.stream) == 6);
        CHECK(says("has destroyed its communicator"));
    });
    {
        Id id;
        ncclGetUniqueId(&id);
        pid_t dies = fork();
        if (!dies) {
            Rank k(1, 2);
            k.join(id);
            _exit(0);
        }
        // Between them a process that collects the dead one.
        pid_t waits = fork();
        if (!waits) {
            wrong = 0;
            Rank k(0, 2);
            CHECK(k.join(id) == 0);
            Ptr at = k.room(64);
            CHECK(ncclAllReduce((void *)at, (void *)at, 16, F32, SUM, k.comm, k.stream) == 6);
            CHECK(says("has ended"));
            exit(wrong ? 1 : 0);
        }
        int before = wrong, status;
        for (int i = 0; i < 2; i++)
            if (wait(&status) < 0 || status) wrong++;
        printf("%s a process that dies\n", wrong == before ? "ok    " : "FAILED");
    }
    alone("memory and streams of the wrong device", [] {
        Rank a(0, 2);
        Ptr other = a.room(64);
        Any comms[2], stream = a.stream;
        CHECK(ncclCommInitAll(comms, 2, nullptr) == 0);
        Rank b(1, 2);
        Ptr mine = b.room(64);
        CHECK(ncclAllReduce((void *)other, (void *)mine, 16, F32, SUM, comms[1], b.stream) == 4 && says("memory of device 0"));
        CHECK(ncclAllReduce((void *)mine, (void *)mine, 17, F32, SUM, comms[1], b.stream) == 4 && says("no allocation"));
        CHECK(ncclAllReduce((void *)mine, (void *)mine, 16, F32, SUM, comms[1], stream) == 5 && says("stream belongs to device 0"));
        CHECK(ncclAllReduce((void *)mine, (void *)mine, 16, 10, SUM, comms[1], b.stream) == 4);
    });

    for (auto [list, count] : {std::pair("", 0), std::pair("2", 1), std::pair("3,1", 2), std::pair("1,9,2", 1),
                               std::pair("-1", 0), std::pair("1,1", 0), std::pair("0,1,2,3,4", 4), std::pair("GPU-11111113", 1)}) {
        setenv("CUDA_VISIBLE_DEVICES", list, 1);
        alone((std::string("CUDA_VISIBLE_DEVICES=") + list).c_str(), [count = count] {
            int n;
            CHECK(cuInit(0) == (count ? 0 : 100));
            CHECK(cuDeviceGetCount(&n) == 0 && n == count);
        });
    }
    unsetenv("CUDA_VISIBLE_DEVICES");

    alone("kernels and the memory of another device", [] {
        Any program, module, function;
        CHECK(nvrtcCreateProgram(&program, "__global__ void __launch_bounds__(32)fill (float* at) {\nat[threadIdx.x] = 2.0f;\n}\n",
                                 nullptr, 0, nullptr, nullptr) == 0);
        CHECK(nvrtcCompileProgram(program, 0, nullptr) == 0);
        size_t size;
        CHECK(nvrtcGetPTXSize(program, &size) == 0);
        std::vector<char> image(size);
        CHECK(nvrtcGetPTX(program, image.data()) == 0);
        Rank b(1, 2), a(0, 2);
        CHECK(cuModuleLoadData(&module, image.data()) == 0 && cuModuleGetFunction(&function, module, "fill") == 0);
        auto fill = [&](Ptr at, Any stream) {
            Any arguments[] = {&at};
            return cuLaunchKernel(function, 1, 1, 1, 32, 1, 1, 0, stream, arguments, nullptr);
        };
        Ptr near = a.room(128), far = b.room(128);
        CHECK(fill(near, a.stream) == 0 && same(a, near, F32, 32, [](size_t) { return 2; }));
        CHECK(fill(near, b.stream) == 400);
        CHECK(fill(far, a.stream) == 700);
        CHECK(cuCtxEnablePeerAccess(b.context, 0) == 0);
        CHECK(fill(far, a.stream) == 0 && same(b, far, F32, 32, [](size_t) { return 2; }));
    });

    std::string trace = std::filesystem::temp_directory_path() / ("software-cuda-test-" + std::to_string(getpid()) + ".json");
    setenv("SOFTWARE_CUDA_TRACE", trace.c_str(), 1);
    alone("memory, peers and copies between devices", [] {
        Rank a(0, 2), b(1, 2);
        Ptr y = b.room(4096);
        size_t free_b, free_a, total;
        CHECK(cuMemGetInfo_v2(&free_b, &total) == 0);
        cuCtxSetCurrent(a.context);
        CHECK(cuMemGetInfo_v2(&free_a, &total) == 0 && free_a == total && free_b == total - 4096);
        Ptr x = a.values(F32, 1024);
        int can;
        CHECK(cuDeviceCanAccessPeer(&can, 0, 1) == 0 && can == 1);
        CHECK(cuDeviceCanAccessPeer(&can, 0, 0) == 0 && can == 0);
        CHECK(cuCtxEnablePeerAccess(b.context, 0) == 0 && cuCtxEnablePeerAccess(b.context, 0) == 704);
        CHECK(cuMemcpyPeerAsync(y, b.context, x, a.context, 4096, a.stream) == 0);
        CHECK(cuMemcpyPeerAsync(y, a.context, x, a.context, 4096, a.stream) != 0);
        CHECK(same(b, y, F32, 1024, [](size_t i) { return value(F32, 0, i); }));
        CHECK(cuMemcpyDtoDAsync_v2(x, y, 100, b.stream) == 0);
        Any comms[2];
        CHECK(ncclCommInitAll(comms, 2, nullptr) == 0);
        CHECK(ncclGroupStart() == 0);
        CHECK(ncclAllGather((void *)x, (void *)y, 8, F32, comms[1], nullptr) != 0);  // memory of the wrong device
        CHECK(ncclGroupEnd() != 0);
        CHECK(ncclGroupStart() == 0);
        CHECK(ncclAllReduce((void *)x, (void *)x, 8, F32, SUM, comms[0], a.stream) == 0);
        CHECK(ncclAllReduce((void *)y, (void *)y, 8, F32, SUM, comms[1], b.stream) == 0);
        CHECK(ncclGroupEnd() == 0);
    });
    std::ifstream f(trace);
    std::stringstream text;
    text << f.rdbuf();
    unlink(trace.c_str());
    for (const char *part : {"\"peer\": {\"count\": 2, \"bytes\": 4196}", "\"nccl\": {\"AllReduce\": {\"count\": 2, \"bytes\": 64}}",
                             "\"peer_in\": {\"count\": 1, \"bytes\": 4096}", "\"peer_out\": {\"count\": 1, \"bytes\": 100}",
                             "\"nccl\": {\"AllReduce\": {\"count\": 1, \"bytes\": 32}}"})
        if (text.str().find(part) == std::string::npos) printf("FAILED the trace lacks %s\n", part), wrong++;
    printf("%s%s\n", wrong ? "FAILED" : "all checks hold", deferred ? ", with SOFTWARE_CUDA_DEFER" : "");
    return wrong ? 1 : 0;
}
