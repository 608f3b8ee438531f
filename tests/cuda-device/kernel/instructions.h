// PTX that cubecl writes inline: asynchronous copies, matrices from and to shared memory, products of a warp.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>

#include "half.h"
#include "interface.h"

inline size_t __cvta_generic_to_shared(const void *p) { return (const char *)p - (const char *)software_self->shared; }

namespace software {

inline void *shared(unsigned address) { return (char *)software_self->shared + address; }

// cp.async: done at once, since nobody may look before the wait.
inline void copy_async(unsigned to, const void *from, int size, int valid) {
    char *p = (char *)shared(to);
    memcpy(p, from, valid);
    memset(p + valid, 0, size - valid);
}

// ldmatrix and stmatrix: matrix i of 8 rows of 16 bytes, whose addresses lanes 8i to 8i+7 give.
template <int N, bool TRANS>
inline void load_matrices(uint32_t *const (&out)[N], unsigned address) {
    struct Mine {
        uint32_t out[N];
        const uint16_t *row;
    } mine{{}, (const uint16_t *)shared(address)};
    software_warp(
        &mine,
        [](void *, void **lanes) {
            for (int lane = 0; lane < 32; lane++) {
                auto *to = (Mine *)lanes[lane];
                if (!to) continue;
                for (int i = 0; i < N; i++) {
                    auto at = [&](int row, int column) {
                        return uint32_t(((Mine *)lanes[8 * i + row])->row[column]);
                    };
                    int a = lane / 4, b = lane % 4 * 2;
                    to->out[i] = TRANS ? at(b, a) | at(b + 1, a) << 16 : at(a, b) | at(a, b + 1) << 16;
                }
            }
        },
        nullptr);
    for (int i = 0; i < N; i++) *out[i] = mine.out[i];
}

template <int N, bool TRANS>
inline void store_matrices(unsigned address, const uint32_t (&in)[N]) {
    struct Mine {
        uint32_t in[N];
        uint16_t *row;
    } mine;
    for (int i = 0; i < N; i++) mine.in[i] = in[i];
    mine.row = (uint16_t *)shared(address);
    software_warp(
        &mine,
        [](void *, void **lanes) {
            for (int lane = 0; lane < 32; lane++) {
                auto *from = (Mine *)lanes[lane];
                if (!from) continue;
                for (int i = 0; i < N; i++) {
                    int a = lane / 4, b = lane % 4 * 2;
                    for (int h = 0; h < 2; h++) {
                        uint16_t value = uint16_t(from->in[i] >> (16 * h));
                        int row = TRANS ? b + h : a, column = TRANS ? a : b + h;
                        ((Mine *)lanes[8 * i + row])->row[column] = value;
                    }
                }
            }
        },
        nullptr);
}

inline float tf32(float f) { return bits_float(float_bits(f) & 0xffffe000); }

struct in_half {
    static constexpr int per = 2;
    static float get(uint32_t word, int i) { return half_format::widen(uint16_t(word >> (16 * i))); }
};
struct in_bfloat {
    static constexpr int per = 2;
    static float get(uint32_t word, int i) { return bfloat_format::widen(uint16_t(word >> (16 * i))); }
};
struct in_tf32 {
    static constexpr int per = 1;
    static float get(uint32_t word, int) { return tf32(bits_float(word)); }
};

// mma.sync.m16n8kK with float accumulators, by the layout of fragments in the PTX manual.
template <class In, int K>
inline void product(float *const (&d)[4], const uint32_t (&a)[16 * K / 32 / In::per], const uint32_t (&b)[8 * K / 32 / In::per],
                    const float (&c)[4]) {
    constexpr int NA = 16 * K / 32, NB = 8 * K / 32, P = In::per;
    struct Mine {
        uint32_t a[NA / P], b[NB / P];
        float c[4], d[4];
    } mine;
    memcpy(mine.a, a, sizeof mine.a), memcpy(mine.b, b, sizeof mine.b), memcpy(mine.c, c, sizeof mine.c);
    software_warp(
        &mine,
        [](void *, void **lanes) {
            static thread_local float A[16][K], B[8][K];
            for (int lane = 0; lane < 32; lane++) {
                auto *m = (Mine *)lanes[lane];
                int group = lane / 4, in_group = lane % 4;
                for (int i = 0; i < NA; i++) {
                    int reg = i / P, row = group + (reg & 1) * 8;
                    int column = in_group * P + i % P + 4 * P * (reg >> 1 & 1) + (reg >> 2) * 8 * P;
                    A[row][column] = In::get(m->a[reg], i % P);
                }
                for (int i = 0; i < NB; i++) {
                    int reg = i / P, row = in_group * P + i % P + 4 * P * reg;
                    B[group][row] = In::get(m->b[reg], i % P);
                }
            }
            for (int lane = 0; lane < 32; lane++) {
                auto *m = (Mine *)lanes[lane];
                for (int i = 0; i < 4; i++) {
                    int row = lane / 4 + (i >> 1) * 8, column = lane % 4 * 2 + i % 2;
                    double sum = m->c[i];
                    for (int k = 0; k < K; k++) sum += double(A[row][k]) * double(B[column][k]);
                    m->d[i] = float(sum);
                }
            }
        },
        nullptr);
    for (int i = 0; i < 4; i++) *d[i] = mine.d[i];
}

template <class T>
inline T saturated(long long v) {
    return T(std::min<long long>(std::max<long long>(v, std::numeric_limits<T>::min()), std::numeric_limits<T>::max()));
}

}  // namespace software
