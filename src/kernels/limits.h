// Measured peak bandwidth and arithmetic of this machine, which benchmarks are compared with.
#pragma once

#include "base/arena.h"
#include "base/executor.h"
#include "kernels/kernels.h"

namespace moebius::kernels {

/// Of all threads of an executor together.
struct Limits {
  double read_gbps = 0;    ///< memory bandwidth, 10^9 bytes a second
  double f32_gflops = 0;   ///< of fused multiply-adds, two operations each
  double bf16_gflops = 0;  ///< of the table's bf16 dot product
  double int8_gops = 0;    ///< of its dot product of unsigned with signed bytes
};

/// Measures limits repeatedly: on a shared machine they change within a second, so a benchmark
/// samples them between the timings that it compares with them.
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
