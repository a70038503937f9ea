// How elementwise work on a tensor is cut into pieces for the threads of the CPU.
#pragma once

#include <ATen/core/Tensor.h>

#include <algorithm>

#include "kernels/cpu_context.h"

namespace moebius {

/// Values of a piece: the same on any number of threads, so that sums over pieces are too.
inline constexpr std::int64_t piece_values = 1 << 16;

inline std::int64_t pieces_of(const at::Tensor& t) {
  return (t.numel() + piece_values - 1) / piece_values;
}

/// Calls work(first value, values, piece) for the pieces of t, on all threads.
template <class Work>
void for_each_piece(const kernels::CpuContext& cpu, const at::Tensor& t, Work work) {
  cpu.executor.run(pieces_of(t), [&](std::int64_t piece, int) {
    const std::int64_t begin = piece * piece_values;
    work(begin, std::min(piece_values, t.numel() - begin), piece);
  });
}

}  // namespace moebius
