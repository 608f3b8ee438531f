// Included before every kernel that is compiled for this host: CUDA C++ as far as cubecl writes it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <tuple>
#include <type_traits>
#include <utility>

#include "atomics.h"
#include "half.h"
#include "instructions.h"
#include "interface.h"
#include "language.h"
#include "launch.h"
#include "mathematics.h"
#include "threads.h"
#include "wmma.h"
