// What functions on the CPU's kernels work with.
#pragma once

#include "base/arena.h"
#include "base/executor.h"
#include "kernels/kernels.h"

namespace moebius::kernels {

struct CpuContext {
  const KernelTable& table;
  Executor& executor;
  Arena& arena;  ///< scratch
};

/// Calls work(piece, thread) for each of `count` pieces that read or write `values` values
/// together, on all threads unless waking them costs more than the work.
template <class Work>
void run_pieces(const CpuContext& cpu, std::int64_t values, std::int64_t count, Work work) {
  constexpr std::int64_t worth_waking = 1 << 14;
  if (values > worth_waking) return cpu.executor.run(count, work);
  for (std::int64_t piece = 0; piece < count; ++piece) work(piece, 0);
}

}  // namespace moebius::kernels
