// Functions of numbers.
#pragma once

#include <cmath>
#include <type_traits>

#include "language.h"

using std::abs;
using std::isinf;
using std::isnan;

inline float rsqrt(float x) { return 1.0f / sqrtf(x); }
inline double rsqrt(double x) { return 1.0 / std::sqrt(x); }
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline float rhypotf(float x, float y) { return 1.0f / hypotf(x, y); }
inline double rhypot(double x, double y) { return 1.0 / std::hypot(x, y); }
// What CUDA overloads for float and libm declares for double alone.
#define SOFTWARE_FLOAT(name) \
    inline float name(float x) { return name##f(x); }
SOFTWARE_FLOAT(exp)
SOFTWARE_FLOAT(log)
SOFTWARE_FLOAT(log1p)
SOFTWARE_FLOAT(sin)
SOFTWARE_FLOAT(cos)
SOFTWARE_FLOAT(tan)
SOFTWARE_FLOAT(sinh)
SOFTWARE_FLOAT(cosh)
SOFTWARE_FLOAT(tanh)
SOFTWARE_FLOAT(asin)
SOFTWARE_FLOAT(acos)
SOFTWARE_FLOAT(atan)
SOFTWARE_FLOAT(asinh)
SOFTWARE_FLOAT(acosh)
SOFTWARE_FLOAT(atanh)
SOFTWARE_FLOAT(sqrt)
SOFTWARE_FLOAT(erf)
SOFTWARE_FLOAT(ceil)
SOFTWARE_FLOAT(floor)
SOFTWARE_FLOAT(trunc)
SOFTWARE_FLOAT(rint)
inline float fma(float a, float b, float c) { return fmaf(a, b, c); }
inline float __expf(float x) { return expf(x); }
inline float __logf(float x) { return logf(x); }
inline float __sinf(float x) { return sinf(x); }
inline float __cosf(float x) { return cosf(x); }
inline float __tanhf(float x) { return tanhf(x); }
inline float __powf(float x, float y) { return powf(x, y); }
inline float __fdividef(float x, float y) { return std::fabs(y) > 8.5e37f ? 0.0f : x / y; }
inline float __fsqrt_rn(float x) { return sqrtf(x); }
inline float __frsqrt_rn(float x) { return float(1.0 / std::sqrt(double(x))); }
inline float __frcp_rn(float x) { return 1.0f / x; }

inline float max(float a, float b) { return fmaxf(a, b); }
inline float min(float a, float b) { return fminf(a, b); }
inline double max(double a, double b) { return std::fmax(a, b); }
inline double min(double a, double b) { return std::fmin(a, b); }
template <class A, class B, std::enable_if_t<std::is_integral<A>::value && std::is_integral<B>::value, int> = 0>
inline std::common_type_t<A, B> max(A a, B b) {
    typedef std::common_type_t<A, B> C;
    return C(a) > C(b) ? C(a) : C(b);
}
template <class A, class B, std::enable_if_t<std::is_integral<A>::value && std::is_integral<B>::value, int> = 0>
inline std::common_type_t<A, B> min(A a, B b) {
    typedef std::common_type_t<A, B> C;
    return C(a) < C(b) ? C(a) : C(b);
}

inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
inline int __clzll(long long x) { return x ? __builtin_clzll(x) : 64; }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline unsigned __brev(unsigned x) {
    unsigned r = 0;
    for (int i = 0; i < 32; i++) r |= (x >> i & 1) << (31 - i);
    return r;
}
inline unsigned long long __brevll(unsigned long long x) {
    return (unsigned long long)__brev(unsigned(x)) << 32 | __brev(unsigned(x >> 32));
}
inline unsigned __umulhi(unsigned a, unsigned b) { return unsigned((unsigned long long)a * b >> 32); }
inline int __mulhi(int a, int b) { return int((long long)a * b >> 32); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned long long)((unsigned __int128)a * b >> 64);
}
inline long long __mul64hi(long long a, long long b) { return (long long)((__int128)a * b >> 64); }
