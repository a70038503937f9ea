// What this machine can do at best, measured: the yardstick of every figure of speed.
#pragma once

#include "base/executor.h"
#include "kernels/kernels.h"

namespace moebius::kernels {

/// On all threads of an executor at once.
struct Limits {
  double read_gbps = 0;    ///< from memory, 10^9 bytes a second
  double f32_gflops = 0;   ///< fused multiply-adds, two operations each
  double bf16_gflops = 0;  ///< of the dot product that the table uses
  double int8_gops = 0;    ///< the same of unsigned bytes with signed ones
};

/// Takes about a second, and 512 MiB for the reading. The best of several tries each, since
/// whatever disturbs them makes them smaller. Throws std::bad_alloc.
Limits measure_limits(const KernelTable& table, Executor& executor);

}  // namespace moebius::kernels
