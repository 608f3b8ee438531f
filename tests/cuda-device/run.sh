#!/bin/sh
# Runs a program on the device: run.sh FOLDER PROGRAM ARGUMENT..., with the folder that build.sh built into.
# CUDA_PATH: a toolkit's headers in include/, which the real NVRTC needs.
libraries=$(cd "${1:?the folder that build.sh built into}" && pwd)
shift
export LD_LIBRARY_PATH="$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export CUDA_PATH="${CUDA_PATH:-$libraries}"
export GLMTUNE_KERNEL_CACHE="${GLMTUNE_KERNEL_CACHE:-off}"
exec "$@"
