#!/bin/sh
# Builds the device's libraries, and the program of their tests, into the folder that is named.
# SOFTWARE_CUDA_CXX is the compiler (g++), SOFTWARE_CUDA_CXXFLAGS the optimisation of kernels (-O1).
set -e
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "${1:?the folder to build into}"
out=$(cd "$1" && pwd)
cxx=${SOFTWARE_CUDA_CXX:-g++}
flags="-std=c++17 -O2 -g1 -fPIC -shared -Wall -Wextra -fvisibility=hidden -pthread"
# Kernels reach the driver's thread variables at fixed places, so they must be there before anybody touches them.
$cxx $flags -ftls-model=initial-exec -I"$here/kernel" -Wl,-soname,libcuda.so.1 -o "$out/libcuda.so.1" \
    "$here"/driver/*.cpp -ldl
$cxx $flags -I"$here/kernel" -Wl,-soname,libnvrtc.so -Wl,-rpath,'$ORIGIN' -o "$out/libnvrtc.so" \
    "$here/compiler/nvrtc.cpp" -L"$out" -l:libcuda.so.1 -ldl
# cudarc looks for libnccl.so, other programs for libnccl.so.2.
$cxx $flags -mf16c -I"$here/kernel" -Wl,-soname,libnccl.so -Wl,-rpath,'$ORIGIN' -o "$out/libnccl.so" \
    "$here/nccl/nccl.cpp" -L"$out" -l:libcuda.so.1 -lrt
ln -sf libnccl.so "$out/libnccl.so.2"
rm -rf "$out/kernel"
cp -r "$here/kernel" "$out/kernel"
# Every kernel is compiled with these; its object is kept by a digest of them and of the headers.
kernel_flags="-std=c++17 -fPIC -w -march=native -ffp-contract=fast -fno-strict-aliasing -fvisibility=hidden"
printf '%s' "$kernel_flags" > "$out/flags"
cat "$out/flags" "$out"/kernel/*.h > "$out/kernel/all"
$cxx $kernel_flags ${SOFTWARE_CUDA_CXXFLAGS:--O1} -x c++-header -o "$out/kernel/device.h.gch" "$out/kernel/device.h"
$cxx -std=c++17 -O1 -g1 -Wall -Wextra -mf16c -pthread -Wl,-rpath,'$ORIGIN' -o "$out/collectives" \
    "$here/collectives.cpp" -L"$out" -l:libcuda.so.1 -l:libnvrtc.so -l:libnccl.so
