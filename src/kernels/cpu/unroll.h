#pragma once

/// Unrolls a loop of constant trip count, so that arrays stay in registers.
#ifdef __clang__
#define MOEBIUS_UNROLL
#else
#define MOEBIUS_UNROLL _Pragma("GCC unroll 16")
#endif
