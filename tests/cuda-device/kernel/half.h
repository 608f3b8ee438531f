// f16 and bf16, one and two at a time.
#pragma once

#include <immintrin.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "language.h"

namespace software {

inline float bits_float(uint32_t bits) {
    float f;
    memcpy(&f, &bits, 4);
    return f;
}

inline uint32_t float_bits(float f) {
    uint32_t bits;
    memcpy(&bits, &f, 4);
    return bits;
}

struct half_format {
    static float widen(uint16_t bits) { return _cvtsh_ss(bits); }
    static uint16_t narrow(float f) { return _cvtss_sh(f, _MM_FROUND_TO_NEAREST_INT); }
};

struct bfloat_format {
    static float widen(uint16_t bits) { return bits_float(uint32_t(bits) << 16); }
    static uint16_t narrow(float f) {
        uint32_t bits = float_bits(f);
        if ((bits & 0x7fffffff) > 0x7f800000) return 0x7fff;
        return uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
    }
};

template <class Format>
struct small {
    uint16_t bits;

    small() = default;
    small(float f) : bits(Format::narrow(f)) {}
    // Rounded once: through a float that was rounded to odd.
    small(double d) {
        float f = float(d);
        if (std::isfinite(f) && double(f) != d) {
            uint32_t b = float_bits(f);
            if (!(b & 1)) {
                bool up = (double(f) < d) == !(b >> 31);
                f = bits_float(up ? b + 1 : b - 1);
            }
        }
        bits = Format::narrow(f);
    }
    template <class I, std::enable_if_t<std::is_integral<I>::value, int> = 0>
    small(I i) : small(double(i)) {}
    template <class Other>
    explicit small(small<Other> other) : bits(Format::narrow(float(other))) {}

    operator float() const { return Format::widen(bits); }

    small &operator+=(small o) { return *this = *this + o; }
    small &operator-=(small o) { return *this = *this - o; }
    small &operator*=(small o) { return *this = *this * o; }
    small &operator/=(small o) { return *this = *this / o; }
    small operator-() const {
        small r;
        r.bits = bits ^ 0x8000;
        return r;
    }
    friend small operator+(small a, small b) { return small(float(a) + float(b)); }
    friend small operator-(small a, small b) { return small(float(a) - float(b)); }
    friend small operator*(small a, small b) { return small(float(a) * float(b)); }
    friend small operator/(small a, small b) { return small(float(a) / float(b)); }
    friend bool operator==(small a, small b) { return float(a) == float(b); }
    friend bool operator!=(small a, small b) { return float(a) != float(b); }
    friend bool operator<(small a, small b) { return float(a) < float(b); }
    friend bool operator>(small a, small b) { return float(a) > float(b); }
    friend bool operator<=(small a, small b) { return float(a) <= float(b); }
    friend bool operator>=(small a, small b) { return float(a) >= float(b); }
};

template <class T>
struct __align__(4) pair {
    T x, y;
    pair() = default;
    pair(T x, T y) : x(x), y(y) {}
    explicit pair(T x) : x(x), y(x) {}
    pair(float f) : x(f), y(f) {}
    friend pair operator+(pair a, pair b) { return {a.x + b.x, a.y + b.y}; }
    friend pair operator-(pair a, pair b) { return {a.x - b.x, a.y - b.y}; }
    friend pair operator*(pair a, pair b) { return {a.x * b.x, a.y * b.y}; }
    friend pair operator/(pair a, pair b) { return {a.x / b.x, a.y / b.y}; }
    pair operator-() const { return {-x, -y}; }
    pair &operator+=(pair o) { return *this = *this + o; }
    pair &operator-=(pair o) { return *this = *this - o; }
    pair &operator*=(pair o) { return *this = *this * o; }
};

}  // namespace software

typedef software::small<software::half_format> __half;
typedef software::small<software::bfloat_format> __nv_bfloat16;
typedef software::pair<__half> __half2;
typedef software::pair<__nv_bfloat16> __nv_bfloat162;
typedef __half half;
typedef __half2 half2;

#define SOFTWARE_HALF(name, expression)                                                    \
    template <class F>                                                                     \
    inline software::small<F> h##name(software::small<F> h) {                              \
        float x = float(h);                                                                \
        return software::small<F>(float(expression));                                      \
    }                                                                                      \
    template <class T>                                                                     \
    inline software::pair<T> h2##name(software::pair<T> p) {                               \
        return {h##name(p.x), h##name(p.y)};                                               \
    }
SOFTWARE_HALF(exp, std::exp(x))
SOFTWARE_HALF(exp2, std::exp2(x))
SOFTWARE_HALF(log, std::log(x))
SOFTWARE_HALF(log2, std::log2(x))
SOFTWARE_HALF(sin, std::sin(x))
SOFTWARE_HALF(cos, std::cos(x))
SOFTWARE_HALF(tanh, std::tanh(x))
SOFTWARE_HALF(sqrt, std::sqrt(x))
SOFTWARE_HALF(rsqrt, 1.0f / std::sqrt(x))
SOFTWARE_HALF(rcp, 1.0f / x)
SOFTWARE_HALF(ceil, std::ceil(x))
SOFTWARE_HALF(floor, std::floor(x))
SOFTWARE_HALF(trunc, std::trunc(x))
SOFTWARE_HALF(rint, std::nearbyint(x))

template <class F>
inline software::small<F> __hmax(software::small<F> a, software::small<F> b) {
    return software::small<F>(std::fmax(float(a), float(b)));
}
template <class F>
inline software::small<F> __hmin(software::small<F> a, software::small<F> b) {
    return software::small<F>(std::fmin(float(a), float(b)));
}
template <class T>
inline software::pair<T> __hmax2(software::pair<T> a, software::pair<T> b) {
    return {__hmax(a.x, b.x), __hmax(a.y, b.y)};
}
template <class T>
inline software::pair<T> __hmin2(software::pair<T> a, software::pair<T> b) {
    return {__hmin(a.x, b.x), __hmin(a.y, b.y)};
}
template <class F>
inline software::small<F> __habs(software::small<F> a) {
    a.bits &= 0x7fff;
    return a;
}
template <class F>
inline bool __hisnan(software::small<F> a) { return std::isnan(float(a)); }
template <class F>
inline int __hisinf(software::small<F> a) { return std::isinf(float(a)) ? (float(a) > 0 ? 1 : -1) : 0; }
template <class F>
inline software::small<F> fma(software::small<F> a, software::small<F> b, software::small<F> c) {
    return software::small<F>(double(float(a)) * double(float(b)) + double(float(c)));
}
template <class F>
inline software::small<F> __hfma(software::small<F> a, software::small<F> b, software::small<F> c) { return fma(a, b, c); }
