// The words of CUDA C++ and its vector types.
#pragma once

#include "interface.h"

#define __global__ static
#define __device__
#define __host__
#define __forceinline__ inline
#define __noinline__
#define __launch_bounds__(...)
#define __cluster_dims__(...)
#define __grid_constant__
#define __constant__ static
#define __align__(n) __attribute__((aligned(n)))
#define __CUDA_ARCH__ 900
#define warpSize 32
#define threadIdx (software_self->thread)
#define blockIdx (software_self->block)
#define blockDim (software_self->block_size)
#define gridDim (software_self->grid_size)

typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned long ulong;
typedef long long longlong;
typedef unsigned long long ulonglong;

#define SOFTWARE_VECTORS(name, type)                                          \
    struct name##1 { type x; };                                              \
    struct __align__(2 * sizeof(type)) name##2 { type x, y; };               \
    struct __align__(4 * sizeof(type) > 16 ? 16 : 4 * sizeof(type)) name##4 { type x, y, z, w; }; \
    inline name##2 make_##name##2(type x, type y) { return {x, y}; }         \
    inline name##4 make_##name##4(type x, type y, type z, type w) { return {x, y, z, w}; }
SOFTWARE_VECTORS(char, signed char)
SOFTWARE_VECTORS(uchar, unsigned char)
SOFTWARE_VECTORS(short, short)
SOFTWARE_VECTORS(ushort, unsigned short)
SOFTWARE_VECTORS(int, int)
SOFTWARE_VECTORS(uint, unsigned)
SOFTWARE_VECTORS(long, long)
SOFTWARE_VECTORS(ulong, unsigned long)
SOFTWARE_VECTORS(longlong, long long)
SOFTWARE_VECTORS(ulonglong, unsigned long long)
SOFTWARE_VECTORS(float, float)
SOFTWARE_VECTORS(double, double)
typedef software_dim uint3, dim3;
inline uint3 make_uint3(unsigned x, unsigned y, unsigned z) { return {x, y, z}; }
