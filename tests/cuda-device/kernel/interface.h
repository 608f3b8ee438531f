// What the driver and the kernels that are compiled for this host know of each other.
#pragma once

#include <cstddef>
#include <cstdint>

struct software_dim {
    unsigned x, y, z;
};

// One thread of a grid, as its kernel sees it.
struct software_thread {
    software_dim thread, block, block_size, grid_size;
    unsigned lane, warp, linear;
    void *shared;
};

struct software_kernel {
    // Runs one thread to its end.
    void (*body)(void **arguments);
    // Whether threads meet: in barriers, in shuffles, in products of a warp.
    int meets;
    // The bytes of each argument.
    unsigned count;
    const unsigned *sizes;
};

// The thread that this host thread executes now. Exported by libcuda.so.1.
extern "C" __attribute__((visibility("default"), tls_model("initial-exec"))) __thread software_thread *software_self;

extern "C" {
// All threads of the block that have not ended.
void software_block_barrier();
// All threads of the warp: each lays down `bytes` at `from`; once all have come, `into(context, lanes)` runs once,
// with the addresses of what each of the 32 lanes laid down (null for lanes that are not there), and may write
// there. `from` stays valid until the next meeting of the same lane.
void software_warp(void *from, void (*into)(void *context, void **lanes), void *context);
}

int software_launch(const char *name, software_kernel *kernel, software_dim grid, software_dim block, unsigned shared, void **arguments);

// What libnccl.so asks of the driver.
enum { SOFTWARE_ELSEWHERE = -1, SOFTWARE_PINNED = -2 };
extern "C" {
int software_device(void *stream);  // the stream's; without one, that of the thread's context; -1
int software_devices();
int software_physical(int device);  // before CUDA_VISIBLE_DEVICES
int software_idle();
int software_defers();
int software_owner(const void *at, size_t bytes);  // a device, or one of the above
int software_settle();                             // does what waits
int software_deliver(void *to, const void *from, size_t bytes);  // writes when its turn in the streams comes
void software_collective(const char *kind, int device, size_t bytes);
}
