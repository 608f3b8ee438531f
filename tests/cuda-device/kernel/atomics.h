// Atomics.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

namespace software {

template <class T, class F>
inline T update(T *at, F change) {
    static_assert(sizeof(T) == 2 || sizeof(T) == 4 || sizeof(T) == 8, "no atomics of this size");
    typedef std::conditional_t<sizeof(T) == 2, uint16_t, std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>> Bits;
    Bits seen = __atomic_load_n((Bits *)at, __ATOMIC_RELAXED);
    for (;;) {
        T old, now;
        memcpy((void *)&old, &seen, sizeof old);
        now = change(old);
        Bits wanted;
        memcpy(&wanted, (void *)&now, sizeof wanted);
        if (__atomic_compare_exchange_n((Bits *)at, &seen, wanted, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) return old;
    }
}

}  // namespace software

template <class T, class V>
inline T atomicAdd(T *at, V v) { return software::update(at, [&](T old) { return T(old + T(v)); }); }
template <class T, class V>
inline T atomicSub(T *at, V v) { return software::update(at, [&](T old) { return T(old - T(v)); }); }
template <class T, class V>
inline T atomicMax(T *at, V v) { return software::update(at, [&](T old) { return old > T(v) ? old : T(v); }); }
template <class T, class V>
inline T atomicMin(T *at, V v) { return software::update(at, [&](T old) { return old < T(v) ? old : T(v); }); }
template <class T, class V>
inline T atomicAnd(T *at, V v) { return software::update(at, [&](T old) { return T(old & T(v)); }); }
template <class T, class V>
inline T atomicOr(T *at, V v) { return software::update(at, [&](T old) { return T(old | T(v)); }); }
template <class T, class V>
inline T atomicXor(T *at, V v) { return software::update(at, [&](T old) { return T(old ^ T(v)); }); }
template <class T, class V>
inline T atomicExch(T *at, V v) { return software::update(at, [&](T) { return T(v); }); }
template <class T, class C, class V>
inline T atomicCAS(T *at, C compare, V v) {
    return software::update(at, [&](T old) { return old == T(compare) ? T(v) : old; });
}
