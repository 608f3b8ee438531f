// How the driver calls a kernel: a description of its arguments.
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>

#include "interface.h"

namespace software {

template <class... A, size_t... I>
inline void call(void (*kernel)(A...), void **arguments, std::index_sequence<I...>) {
    kernel(*(std::remove_const_t<A> *)arguments[I]...);
}

template <class... A>
inline void call(void (*kernel)(A...), void **arguments) {
    call(kernel, arguments, std::index_sequence_for<A...>());
}

template <class... A>
struct sizes {
    static constexpr unsigned values[] = {unsigned(sizeof(A))..., 0};
};

template <class... A>
constexpr software_kernel describe(void (*)(A...), void (*body)(void **), int meets) {
    return {body, meets, sizeof...(A), sizes<A...>::values};
}

}  // namespace software
