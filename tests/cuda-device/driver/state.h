// What the driver keeps: devices, their memory, what was asked of streams, and counts of all that was asked for.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "environment.h"
#include "interface.h"

#define API extern "C" __attribute__((visibility("default")))

typedef int CUresult;
typedef unsigned long long CUdeviceptr;

enum {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    NO_DEVICE = 100,
    INVALID_DEVICE = 101,
    INVALID_IMAGE = 200,
    INVALID_CONTEXT = 201,
    INVALID_HANDLE = 400,
    NOT_FOUND = 500,
    ILLEGAL_ADDRESS = 700,
    LAUNCH_OUT_OF_RESOURCES = 701,
    PEER_ACCESS_ALREADY_ENABLED = 704,
    PEER_ACCESS_NOT_ENABLED = 705,
    LAUNCH_FAILED = 719,
    NOT_SUPPORTED = 801,
};

struct Copies {
    uint64_t count = 0, bytes = 0;
    void add(uint64_t more) { count++, bytes += more; }
};

struct Kernel {
    uint64_t launches = 0, blocks = 0, threads = 0;
    double seconds = 0;
};

struct Module {
    std::string image;
    int device;
    void *object = nullptr;
};

struct Function {
    std::string name;
    int device;
    software_kernel *code = nullptr;
    size_t dynamic_shared_limit = 48 << 10;
};

struct Event {
    std::chrono::steady_clock::time_point at;
    uint64_t after = 0;
};

struct Context {
    int device;
    std::set<int> peers;  // whose memory its kernels may touch
};

struct Stream {
    int number, device;
};

// What was asked of one device.
struct Device {
    int physical;  // its number before CUDA_VISIBLE_DEVICES
    Context context;
    uint64_t now = 0, peak = 0, allocations = 0, frees = 0, refused = 0, streams = 0, launches = 0;
    Copies h2d, d2h, d2d, set, peer_in, peer_out;
    std::map<uint64_t, uint64_t> at_peak;  // bytes -> count
    std::map<std::string, Copies> collectives;
};

struct Allocation {
    uint64_t bytes;
    int device;
};

// The context of this host thread.
inline thread_local std::vector<Context *> contexts;

// The devices that a program may see. A list ends at what is no device; who names one twice gets none.
std::vector<int> visible(int count);

struct State {
    std::recursive_mutex lock;
    std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now();
    uint64_t total = uint64_t(number("SOFTWARE_CUDA_MEMORY", 80) * (1ull << 30));
    int capability = int(number("SOFTWARE_CUDA_CAPABILITY", 90));
    // Until a copy to the device has so many bytes, all is done; from then on, what these three leave out is not.
    uint64_t trial = uint64_t(number("SOFTWARE_CUDA_TRIAL", 0));
    bool skip = false, zero = false, idle = false;
    bool poison = flag("SOFTWARE_CUDA_POISON");
    bool defer = flag("SOFTWARE_CUDA_DEFER");

    // With `defer`, what was asked of streams and is not done yet, in the order of asking.
    std::deque<std::function<CUresult()>> waiting;
    uint64_t asked = 0, done = 0;
    CUresult failed = SUCCESS;

    std::deque<Device> devices;
    int streams = 0;
    uint64_t launches = 0, modules = 0, stream_syncs = 0, event_syncs = 0, context_syncs = 0, events = 0, waits = 0;
    Copies h2d, d2h, d2d, set, peer;
    uint64_t pinned_now = 0, pinned_peak = 0, allocations = 0, frees = 0;
    uint64_t refused = 0;
    std::map<uint64_t, Allocation> memory;  // by address
    std::map<uint64_t, uint64_t> pinned;    // address -> bytes
    std::map<std::string, Copies> collectives;
    std::map<std::string, Kernel> kernels;
    std::map<std::string, uint64_t> unknown;
    FILE *timeline = nullptr, *order = nullptr;
    double written = 0;

    State() {
        if (!trial) end_trial();
        for (int i : visible(int(number("SOFTWARE_CUDA_DEVICES", 1)))) {
            int index = int(devices.size());
            devices.emplace_back();
            devices.back().physical = i;
            devices.back().context.device = index;
        }
        std::string path = file("SOFTWARE_CUDA_LAUNCHES");
        if (!path.empty()) order = fopen(path.c_str(), "w");
        path = file("SOFTWARE_CUDA_TIMELINE");
        if (!path.empty()) {
            timeline = fopen(path.c_str(), "w");
            if (timeline)
                fprintf(timeline,
                        "seconds\tkind\tlaunches\tsyncs\th2d\th2d_bytes\td2h\td2h_bytes\td2d\tdevice_now\t"
                        "device_peak\tpinned_now\tmodules\n");
        }
    }

    double seconds() const {
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    }

    // The totals of memory speak of the first device.
    const Device &first() const {
        static const Device none{};
        return devices.empty() ? none : devices[0];
    }

    void mark(const char *kind) {
        if (order && (!strcmp(kind, "event") || !strcmp(kind, "stream"))) fprintf(order, "wait\t%s\t0\n", kind);
        if (timeline)
            fprintf(timeline, "%.3f\t%s\t%lu\t%lu\t%lu\t%lu\t%lu\t%lu\t%lu\t%lu\t%lu\t%lu\t%lu\n", seconds(), kind,
                    launches, stream_syncs + event_syncs + context_syncs, h2d.count, h2d.bytes, d2h.count, d2h.bytes,
                    d2d.count, first().now, first().peak, pinned_now, modules);
        if (seconds() - written > 5) summary();
    }

    // Writes what was asked for to the file that SOFTWARE_CUDA_TRACE names.
    void summary();

    // Does `f` now, or when somebody waits for it.
    CUresult ask(std::function<CUresult()> f) {
        asked++;
        if (defer) {
            waiting.push_back(std::move(f));
            return SUCCESS;
        }
        done++;
        return f();
    }

    // Does all that was asked before `until`; the first failure stays, like a device's.
    CUresult finish(uint64_t until) {
        while (done < until && !waiting.empty()) {
            auto f = std::move(waiting.front());
            waiting.pop_front();
            done++;
            CUresult code = f();
            if (!failed) failed = code;
        }
        return failed;
    }

    // Memory of devices and of the host.

    uint64_t reserve(uint64_t bytes) {
        // A page that cannot be touched lies behind every allocation, and allocations end at it as nearly as
        // their alignment of 512 bytes allows.
        uint64_t page = 4096, rounded = (bytes + page - 1) / page * page;
        void *p = mmap(nullptr, rounded + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
                       0);
        if (p == MAP_FAILED) return 0;
        mprotect((char *)p + rounded, page, PROT_NONE);
        return uint64_t(p);
    }

    void release(uint64_t at, uint64_t bytes) {
        uint64_t page = 4096, rounded = (bytes + page - 1) / page * page;
        munmap((void *)at, rounded + page);
    }

    // The device of this host thread's context, or of a stream.
    int here() { return contexts.empty() || !contexts.back() ? -1 : contexts.back()->device; }
    int of(void *stream) { return stream ? ((Stream *)stream)->device : here(); }

    CUresult allocate(CUdeviceptr *out, uint64_t bytes, int device) {
        std::lock_guard guard(lock);
        if (device < 0) return INVALID_CONTEXT;
        if (!bytes) return INVALID_VALUE;
        Device &d = devices[device];
        if (d.now + bytes > total) {
            d.refused++, refused++;
            return OUT_OF_MEMORY;
        }
        uint64_t at = reserve(bytes);
        if (!at) return OUT_OF_MEMORY;
        if (poison && !idle) memset((void *)at, 0xff, bytes);  // NaN in every format
        memory[at] = {bytes, device};
        d.now += bytes;
        d.allocations++, allocations++;
        if (d.now > d.peak) {
            d.peak = d.now;
            d.at_peak.clear();
            for (auto &[address, a] : memory)
                if (a.device == device) d.at_peak[a.bytes]++;
        }
        *out = at;
        mark("device memory");
        return SUCCESS;
    }

    CUresult free(CUdeviceptr at) {
        std::lock_guard guard(lock);
        if (!at) return SUCCESS;
        auto found = memory.find(at);
        if (found == memory.end()) return INVALID_VALUE;
        Device &d = devices[found->second.device];
        d.now -= found->second.bytes;
        d.frees++, frees++;
        uint64_t bytes = found->second.bytes;
        memory.erase(found);
        return ask([this, at, bytes] {
            release(at, bytes);
            return SUCCESS;
        });
    }

    // The device in one of whose allocations [at, at + bytes) lies.
    Device *owner(uint64_t at, uint64_t bytes) {
        auto after = memory.upper_bound(at);
        if (after == memory.begin()) return nullptr;
        --after;
        if (at + bytes > after->first + after->second.bytes) return nullptr;
        return &devices[after->second.device];
    }

    bool holds(uint64_t at, uint64_t bytes) { return owner(at, bytes); }

    // Copies in the device's memory are its own, or move between two devices.
    void count_d2d(uint64_t to, uint64_t from, uint64_t bytes) {
        Device *a = owner(from, bytes), *b = owner(to, bytes);
        if (a == b) return d2d.add(bytes), a->d2d.add(bytes);
        peer.add(bytes), a->peer_out.add(bytes), b->peer_in.add(bytes);
    }

    bool is_pinned(uint64_t at, uint64_t bytes) {
        auto after = pinned.upper_bound(at);
        if (after == pinned.begin()) return false;
        --after;
        return at + bytes <= after->first + after->second;
    }

    // Copies.

    void end_trial() {
        skip = flag("SOFTWARE_CUDA_SKIP_COPIES");
        zero = flag("SOFTWARE_CUDA_READ_ZERO");
        idle = flag("SOFTWARE_CUDA_NO_EXECUTION");
    }

    void count_h2d(uint64_t to, uint64_t bytes) {
        if (trial && bytes >= trial) end_trial();
        h2d.add(bytes), owner(to, 1)->h2d.add(bytes);
        if (order) fprintf(order, "upload\t%lu\t0\n", bytes);
    }

    void forget(uint64_t at, uint64_t bytes) {
        // Nothing reads the staging memory of a copy that is skipped: give its whole pages back.
        uint64_t from = (at + 4095) / 4096 * 4096, to = (at + bytes) / 4096 * 4096;
        if (to > from && is_pinned(at, bytes)) madvise((void *)from, to - from, MADV_DONTNEED);
    }

    CUresult bad(const char *what, uint64_t at, uint64_t bytes) {
        fprintf(stderr, "software-cuda: %s: %#lx + %lu is not device memory\n", what, at, bytes);
        return INVALID_VALUE;
    }
};

// Lives until the process ends: its destructor would run before the last calls.
State &state();
