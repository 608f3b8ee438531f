// Arithmetic: one operation at a time, rounded to the type, in the order of the ranks.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include "communicator.h"

struct Half {
    uint16_t bits;
    operator float() const { return _cvtsh_ss(bits); }
    Half(float f) : bits(_cvtss_sh(f, _MM_FROUND_TO_NEAREST_INT)) {}
};

struct Bfloat {
    uint16_t bits;
    operator float() const {
        uint32_t u = uint32_t(bits) << 16;
        float f;
        memcpy(&f, &u, 4);
        return f;
    }
    Bfloat(float f) {
        uint32_t u;
        memcpy(&u, &f, 4);
        bits = std::isnan(f) ? 0x7fff : uint16_t((u + 0x7fff + (u >> 16 & 1)) >> 16);
    }
};

template <class T>
constexpr bool whole = std::is_integral_v<T>;

template <class T>
T combine(int operation, T a, T b) {
    if constexpr (whole<T>) {
        typedef std::make_unsigned_t<T> U;  // wraps
        switch (operation) {
            case PROD: return T(U(uint64_t(U(a)) * uint64_t(U(b))));
            case MAX: return std::max(a, b);
            case MIN: return std::min(a, b);
            default: return T(U(U(a) + U(b)));
        }
    } else {
        typedef std::conditional_t<std::is_same_v<T, double>, double, float> F;
        F x = a, y = b;
        switch (operation) {
            case PROD: return T(x * y);
            case MAX: return T(std::fmax(x, y));
            case MIN: return T(std::fmin(x, y));
            default: return T(x + y);
        }
    }
}

// Element i of all the ranks' chunks, into rank 0's. Of floats, avg is the sum of what each rank divides before, of
// integers the divided sum, as in NCCL.
template <class T>
void reduce(Comm &c, int operation, size_t from, size_t to) {
    std::vector<T *> in(c.ranks);
    for (int r = 0; r < c.ranks; r++) in[r] = (T *)c.segment->slot(r);
    for (size_t i = from; i < to; i++) {
        auto take = [&](int r) -> T {
            if constexpr (!whole<T>)
                if (operation == AVG) return combine<T>(PROD, in[r][i], T(1.0f / T(float(c.ranks))));
            return in[r][i];
        };
        T sum = take(0);
        for (int r = 1; r < c.ranks; r++) sum = combine<T>(operation, sum, take(r));
        if constexpr (whole<T>)
            if (operation == AVG) sum = sum / T(c.ranks);
        in[0][i] = sum;
    }
}

inline void reduce(Comm &c, int type, int operation, size_t from, size_t to) {
    switch (type) {
        case I8: return reduce<int8_t>(c, operation, from, to);
        case U8: return reduce<uint8_t>(c, operation, from, to);
        case I32: return reduce<int32_t>(c, operation, from, to);
        case U32: return reduce<uint32_t>(c, operation, from, to);
        case I64: return reduce<int64_t>(c, operation, from, to);
        case U64: return reduce<uint64_t>(c, operation, from, to);
        case F16: return reduce<Half>(c, operation, from, to);
        case F32: return reduce<float>(c, operation, from, to);
        case F64: return reduce<double>(c, operation, from, to);
        case BF16: return reduce<Bfloat>(c, operation, from, to);
    }
}
