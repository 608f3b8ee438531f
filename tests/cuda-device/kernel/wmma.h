// nvcuda::wmma.
#pragma once

#include <cstring>
#include <type_traits>

#include "half.h"
#include "instructions.h"

namespace nvcuda {
namespace wmma {

struct matrix_a;
struct matrix_b;
struct accumulator;
struct row_major;
struct col_major;
enum layout_t { mem_row_major, mem_col_major };
namespace precision {
struct tf32;
}

template <class T>
struct stored {
    typedef T type;
};
template <>
struct stored<precision::tf32> {
    typedef float type;
};

// The library does not say which lane holds what: here lane l holds elements l*n to l*n+n-1 of the rows.
template <class Use, int M, int N, int K, class T, class Layout = void>
struct fragment {
    static constexpr int rows = std::is_same<Use, matrix_b>::value ? K : M;
    static constexpr int columns = std::is_same<Use, matrix_a>::value ? K : N;
    static constexpr int num_elements = rows * columns / 32;
    typedef typename stored<T>::type element_type;
    typedef element_type storage_element_type;
    element_type x[num_elements];
};

template <class F, class V>
inline void fill_fragment(F &f, V value) {
    for (int i = 0; i < F::num_elements; i++) f.x[i] = typename F::element_type(value);
}

// One instruction of the warp, like the device's: all lanes' elements move at once, so that what a lane reads after
// a store is there. (Nothing promises that without __syncwarp, but cubecl relies on it.)
template <class F, class T, bool STORE>
inline void move(F *f, T *at, unsigned stride, bool columns) {
    struct Mine {
        F *f;
        T *at;
        unsigned stride;
        bool columns;
    } mine{f, at, stride, columns};
    software_warp(
        &mine,
        [](void *, void **lanes) {
            for (int lane = 0; lane < 32; lane++) {
                auto *m = (Mine *)lanes[lane];
                if (!m) continue;
                for (int i = 0; i < F::num_elements; i++) {
                    size_t r = (lane * F::num_elements + i) / F::columns, c = (lane * F::num_elements + i) % F::columns;
                    auto *there = (void *)(m->at + (m->columns ? c * m->stride + r : r * m->stride + c));
                    auto *here = (void *)&m->f->x[i];
                    memcpy(STORE ? there : here, STORE ? here : there, sizeof m->f->x[i]);
                }
            }
        },
        nullptr);
}

template <class Use, int M, int N, int K, class T, class Layout, class P>
inline void load_matrix_sync(fragment<Use, M, N, K, T, Layout> &f, const P *from, unsigned stride) {
    move<fragment<Use, M, N, K, T, Layout>, P, false>(&f, (P *)from, stride, std::is_same<Layout, col_major>::value);
}

template <int M, int N, int K, class T, class P>
inline void load_matrix_sync(fragment<accumulator, M, N, K, T> &f, const P *from, unsigned stride, layout_t layout) {
    move<fragment<accumulator, M, N, K, T>, P, false>(&f, (P *)from, stride, layout == mem_col_major);
}

template <int M, int N, int K, class T, class P>
inline void store_matrix_sync(P *to, const fragment<accumulator, M, N, K, T> &f, unsigned stride, layout_t layout) {
    move<fragment<accumulator, M, N, K, T>, P, true>((fragment<accumulator, M, N, K, T> *)&f, to, stride,
                                                    layout == mem_col_major);
}

inline float __float_to_tf32(float f) {
    uint32_t bits = software::float_bits(f);
    if ((bits & 0x7f800000) == 0x7f800000) return f;
    return software::bits_float((bits + 0x1000) & 0xffffe000);
}

template <class T>
struct operand {
    template <class V>
    static float get(V v) { return float(v); }
};
template <>
struct operand<precision::tf32> {
    static float get(float v) { return software::tf32(v); }
};

template <int M, int N, int K, class T, class LA, class LB, class C, class D>
inline void mma_sync(fragment<accumulator, M, N, K, D> &d, const fragment<matrix_a, M, N, K, T, LA> &a,
                     const fragment<matrix_b, M, N, K, T, LB> &b, const fragment<accumulator, M, N, K, C> &c) {
    typedef fragment<accumulator, M, N, K, D> FD;
    typedef fragment<matrix_a, M, N, K, T, LA> FA;
    typedef fragment<matrix_b, M, N, K, T, LB> FB;
    typedef fragment<accumulator, M, N, K, C> FC;
    struct Mine {
        FD *d;
        const FA *a;
        const FB *b;
        const FC *c;
    } mine{&d, &a, &b, &c};
    software_warp(
        &mine,
        [](void *, void **lanes) {
            static thread_local double A[M][K], B[K][N];
            for (int l = 0; l < 32; l++) {
                auto *m = (Mine *)lanes[l];
                for (int i = 0; i < FA::num_elements; i++)
                    (&A[0][0])[l * FA::num_elements + i] = operand<T>::get(m->a->x[i]);
                for (int i = 0; i < FB::num_elements; i++)
                    (&B[0][0])[l * FB::num_elements + i] = operand<T>::get(m->b->x[i]);
            }
            static thread_local double S[M][N];
            for (int i = 0; i < M; i++) {
                for (int j = 0; j < N; j++) S[i][j] = 0;
                for (int k = 0; k < K; k++)
                    for (int j = 0; j < N; j++) S[i][j] += A[i][k] * B[k][j];
            }
            for (int l = 0; l < 32; l++) {
                auto *m = (Mine *)lanes[l];
                for (int i = 0; i < FD::num_elements; i++)
                    m->d->x[i] = D(float(double(m->c->x[i]) + (&S[0][0])[l * FD::num_elements + i]));
            }
        },
        nullptr);
}

}  // namespace wmma
}  // namespace nvcuda
