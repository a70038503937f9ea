// What this machine can do at best, measured: the yardstick of every figure of speed.
#pragma once

#include "base/arena.h"
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

/// Measures limits again and again: on a shared machine they change within a second, so they have
/// to be measured between the figures that are compared with them.
class LimitMeter {
 public:
  /// Takes 256 MiB to read from. Throws std::bad_alloc.
  LimitMeter(const KernelTable& table, Executor& executor);

  /// Takes about 20 ms.
  Limits sample();

 private:
  double peak(PackedType type);
  double read_speed();

  const KernelTable& table_;
  Executor& executor_;
  Arena arena_;
  std::byte* memory_;
};

}  // namespace moebius::kernels
