#pragma once

/// Before a loop whose count is known and whose values are to stay in registers.
#ifdef __clang__
#define MOEBIUS_UNROLL
#else
#define MOEBIUS_UNROLL _Pragma("GCC unroll 16")
#endif
