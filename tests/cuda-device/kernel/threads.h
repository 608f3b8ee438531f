// Where threads meet: barriers, shuffles, votes.
#pragma once

#include "interface.h"
#include "mathematics.h"

inline void __syncthreads() { software_block_barrier(); }
inline void __syncwarp(unsigned = ~0u) { software_warp(nullptr, nullptr, nullptr); }
inline void __threadfence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
inline void __threadfence_block() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

namespace software {

template <class T>
struct shuffled {
    T in, out;
    unsigned source;
};

template <class T>
inline T shuffle(T value, unsigned source) {
    shuffled<T> mine{value, value, source};
    software_warp(
        &mine,
        [](void *, void **lanes) {
            for (int i = 0; i < 32; i++) {
                auto *to = (shuffled<T> *)lanes[i];
                if (!to || to->source >= 32) continue;
                auto *from = (shuffled<T> *)lanes[to->source];
                if (from) to->out = from->in;
            }
        },
        nullptr);
    return mine.out;
}

struct voted {
    bool in;
    unsigned out;
};

inline unsigned vote(bool value) {
    voted mine{value, 0};
    software_warp(
        &mine,
        [](void *, void **lanes) {
            unsigned all = 0;
            for (int i = 0; i < 32; i++)
                if (lanes[i] && ((voted *)lanes[i])->in) all |= 1u << i;
            for (int i = 0; i < 32; i++)
                if (lanes[i]) ((voted *)lanes[i])->out = all;
        },
        nullptr);
    return mine.out;
}

// Which lanes of the warp have not ended.
inline unsigned present() { return vote(true); }

inline unsigned elect() { return software_self->lane == unsigned(__ffs(int(present())) - 1); }

}  // namespace software

template <class T>
inline T __shfl_sync(unsigned, T value, int source, int width = 32) {
    unsigned lane = software_self->lane;
    return software::shuffle(value, (lane & ~(width - 1)) | (unsigned(source) & (width - 1)));
}
template <class T>
inline T __shfl_xor_sync(unsigned, T value, int mask, int = 32) {
    return software::shuffle(value, software_self->lane ^ unsigned(mask));
}
template <class T>
inline T __shfl_up_sync(unsigned, T value, unsigned delta, int = 32) {
    unsigned lane = software_self->lane;
    return software::shuffle(value, lane >= delta ? lane - delta : lane);
}
template <class T>
inline T __shfl_down_sync(unsigned, T value, unsigned delta, int = 32) {
    unsigned lane = software_self->lane;
    return software::shuffle(value, lane + delta < 32 ? lane + delta : lane);
}
inline unsigned __ballot_sync(unsigned, bool value) { return software::vote(value); }
inline int __any_sync(unsigned, bool value) { return software::vote(value) != 0; }
inline int __all_sync(unsigned, bool value) { return software::vote(!value) == 0; }
inline unsigned __activemask() { return software::present(); }
