// Runs the grid of a kernel: blocks over host threads, the threads of a block one after another, or as fibers where
// they meet each other.

#include "interface.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

__thread software_thread *software_self;

namespace {

constexpr size_t STACK = 512 << 10;
constexpr unsigned WARP = 32, MOST = 1024;

// Saves the registers that a call must keep, and goes on where `to` was left.
extern "C" void software_switch(void **from, void *to);
asm(R"(
.text
.type software_switch, @function
software_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size software_switch, .-software_switch
)");

enum Waits : unsigned char { NOT, FOR_WARP, FOR_BLOCK, ENDED };

struct Warp {
    unsigned size, alive, arrived;
    void *lanes[WARP];
    void (*into)(void *, void **);
    void *context;
};

struct Runner;
thread_local Runner *runner;
const char *executing = nullptr;

// Threads and blocks from the last to the first: what depends on their order shows.
const bool reversed = getenv("SOFTWARE_CUDA_REVERSE") != nullptr;

// Names the kernel whose thread touched what is not there.
void fault(int number) {
    char text[256];
    int n = snprintf(text, sizeof text, "software-cuda: illegal address%s%s\n", executing ? " in " : "",
                     executing ? executing : "");
    if (write(2, text, n) < 0) n = 0;
    signal(number, SIG_DFL);
    raise(number);
}

struct Fiber {
    software_thread self;
    void *stack_pointer;
    Waits waits;
};

// What one host thread needs to run blocks.
struct Runner {
    char *stacks = nullptr;
    std::vector<Fiber> fibers = std::vector<Fiber>(MOST);
    std::vector<Warp> warps = std::vector<Warp>(MOST / WARP);
    void *scheduler = nullptr;
    Fiber *current = nullptr;
    software_kernel *kernel = nullptr;
    void **arguments = nullptr;
    unsigned size = 0, alive = 0, at_barrier = 0;
    char *shared = nullptr;
    bool stuck = false;

    Runner() {
        stacks = (char *)mmap(nullptr, STACK * MOST, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        shared = (char *)aligned_alloc(1024, 256 << 10);
        if (stacks == MAP_FAILED || !shared) abort();
    }

    void wait(Waits what) {
        Fiber *f = current;
        f->waits = what;
        software_switch(&f->stack_pointer, scheduler);
        software_self = &f->self;
    }

    void release_block() {
        at_barrier = 0;
        for (unsigned i = 0; i < size; i++)
            if (fibers[i].waits == FOR_BLOCK) fibers[i].waits = NOT;
    }

    void meet(Warp &w, unsigned warp) {
        w.arrived = 0;
        if (w.into) w.into(w.context, w.lanes);
        for (unsigned i = 0; i < w.size; i++) {
            Fiber &f = fibers[warp * WARP + i];
            if (f.waits == FOR_WARP) f.waits = NOT;
        }
    }

    void ended(Fiber *f) {
        f->waits = ENDED;
        Warp &w = warps[f->self.warp];
        w.alive--;
        w.lanes[f->self.lane] = nullptr;
        alive--;
        if (alive && at_barrier == alive) release_block();
        if (w.alive && w.arrived == w.alive) meet(w, f->self.warp);  // lanes that ended take no part
    }

    static void enter() {
        Runner *r = runner;
        Fiber *f = r->current;
        r->kernel->body(r->arguments);
        r->ended(f);
        void *unused;
        software_switch(&unused, r->scheduler);
        abort();
    }

    // False where threads wait for others that never come.
    bool block(software_dim at, software_dim grid, software_dim dim) {
        size = alive = dim.x * dim.y * dim.z;
        at_barrier = 0;
        unsigned n = (size + WARP - 1) / WARP;
        for (unsigned w = 0; w < n; w++) {
            warps[w].size = warps[w].alive = std::min(WARP, size - w * WARP);
            warps[w].arrived = 0;
            memset(warps[w].lanes, 0, sizeof warps[w].lanes);
        }
        for (unsigned i = 0; i < size; i++) {
            Fiber &f = fibers[i];
            f.self.thread = {i % dim.x, i / dim.x % dim.y, i / dim.x / dim.y};
            f.self.block = at;
            f.self.block_size = dim;
            f.self.grid_size = grid;
            f.self.lane = i % WARP;
            f.self.warp = i / WARP;
            f.self.linear = i;
            f.self.shared = shared;
            f.waits = NOT;
            void **top = (void **)(stacks + STACK * (i + 1) - 64 * (i % 64));
            *--top = nullptr;
            *--top = (void *)enter;
            for (int r = 0; r < 6; r++) *--top = nullptr;
            f.stack_pointer = top;
        }
        while (alive) {
            bool moved = false;
            for (unsigned turn = 0; turn < n; turn++) {
                unsigned w = reversed ? n - 1 - turn : turn;
                bool again = true;
                while (again) {
                    again = false;
                    unsigned first = w * WARP, end = std::min(size, (w + 1) * WARP);
                    for (unsigned turn = first; turn < end; turn++) {
                        Fiber &f = fibers[reversed ? end - 1 - (turn - first) : turn];
                        if (f.waits != NOT) continue;
                        current = &f;
                        software_self = &f.self;
                        software_switch(&scheduler, f.stack_pointer);
                        moved = again = true;
                    }
                }
            }
            if (!moved || stuck) return false;
        }
        return true;
    }

    // For kernels whose threads never meet.
    void plain_block(software_dim at, software_dim grid, software_dim dim) {
        software_thread &self = fibers[0].self;
        self.block = at, self.block_size = dim, self.grid_size = grid, self.shared = shared;
        software_self = &self;
        unsigned linear = 0;
        for (unsigned z = 0; z < dim.z; z++)
            for (unsigned y = 0; y < dim.y; y++)
                for (unsigned x = 0; x < dim.x; x++, linear++) {
                    self.thread = {x, y, z};
                    self.linear = linear, self.lane = linear % WARP, self.warp = linear / WARP;
                    kernel->body(arguments);
                }
    }
};

struct Job {
    software_kernel *kernel;
    software_dim grid, block;
    unsigned shared;
    void **arguments;
    uint64_t blocks;
    std::atomic<uint64_t> next{0};
    std::atomic<bool> stuck{false};
};

void work(Job &job) {
    if (!runner) runner = new Runner;
    Runner &r = *runner;
    r.kernel = job.kernel, r.arguments = job.arguments, r.stuck = false;
    uint64_t share = std::max<uint64_t>(1, job.blocks / 256);
    for (;;) {
        uint64_t from = job.next.fetch_add(share);
        if (from >= job.blocks) return;
        for (uint64_t turn = from; turn < std::min(job.blocks, from + share); turn++) {
            uint64_t b = reversed ? job.blocks - 1 - turn : turn;
            software_dim at = {unsigned(b % job.grid.x), unsigned(b / job.grid.x % job.grid.y),
                               unsigned(b / job.grid.x / job.grid.y)};
            if (job.shared) memset(r.shared, 0xff, job.shared);  // NaN: what is read before it is written shows
            if (!job.kernel->meets)
                r.plain_block(at, job.grid, job.block);
            else if (!r.block(at, job.grid, job.block)) {
                job.stuck = true;
                return;
            }
        }
    }
}

// Host threads that wait for jobs.
struct Pool {
    std::mutex lock;
    std::condition_variable wake, done;
    Job *job = nullptr;
    uint64_t round = 0;
    unsigned busy = 0, count;

    Pool() {
        const char *given = getenv("SOFTWARE_CUDA_THREADS");
        count = given ? atoi(given) : std::thread::hardware_concurrency();
        if (count < 1) count = 1;
        for (unsigned i = 1; i < count; i++)
            std::thread([this] {
                uint64_t seen = 0;
                for (;;) {
                    Job *mine;
                    {
                        std::unique_lock guard(lock);
                        wake.wait(guard, [&] { return round != seen; });
                        seen = round;
                        mine = job;
                    }
                    work(*mine);
                    std::unique_lock guard(lock);
                    if (--busy == 0) done.notify_one();
                }
            }).detach();
    }

    void run(Job &j) {
        uint64_t threads = j.blocks * j.block.x * j.block.y * j.block.z;
        if (count == 1 || j.blocks == 1 || threads < 2048) return work(j);
        {
            std::unique_lock guard(lock);
            job = &j, round++, busy = count - 1;
        }
        wake.notify_all();
        work(j);
        std::unique_lock guard(lock);
        done.wait(guard, [&] { return busy == 0; });
    }
};

}  // namespace

extern "C" __attribute__((visibility("default"))) void software_block_barrier() {
    Runner &r = *runner;
    if (++r.at_barrier == r.alive) {
        r.release_block();
        return;
    }
    r.wait(FOR_BLOCK);
}

extern "C" __attribute__((visibility("default"))) void software_warp(void *from, void (*into)(void *, void **),
                                                                    void *context) {
    Runner &r = *runner;
    Fiber *f = r.current;
    Warp &w = r.warps[f->self.warp];
    w.lanes[f->self.lane] = from;
    w.into = into;
    w.context = context;
    if (++w.arrived == w.alive) {
        r.meet(w, f->self.warp);
        return;
    }
    r.wait(FOR_WARP);
}

int software_launch(const char *name, software_kernel *kernel, software_dim grid, software_dim block, unsigned shared,
                    void **arguments) {
    static Pool *pool = [] {
        signal(SIGSEGV, fault);
        signal(SIGBUS, fault);
        return new Pool;
    }();
    Job job{kernel, grid, block, shared, arguments, uint64_t(grid.x) * grid.y * grid.z};
    executing = name;
    pool->run(job);
    executing = nullptr;
    if (job.stuck) {
        fprintf(stderr, "software-cuda: threads of %s wait for each other in different places\n", name);
        return 719;
    }
    return 0;
}
