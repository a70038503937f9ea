// How kernels of the CPU meet tensors.
#pragma once

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <mutex>

#include "kernels/cpu_context.h"
#include "kernels/matrix.h"

namespace moebius::ops {

/// What kernels work with while it lives: as many threads as ATen has, which are kept between
/// calls. One caller at a time; others wait.
class CpuKernels {
 public:
  CpuKernels();

  operator const kernels::CpuContext&() const { return cpu_; }  // NOLINT: that is what it is for
  const kernels::CpuContext* operator->() const { return &cpu_; }

 private:
  std::lock_guard<std::mutex> lock_;
  kernels::CpuContext cpu_;
};

/// A matrix [rows, columns] cut into at most 256 pieces of rows, the same on any number of threads.
struct RowPieces {
  std::int64_t rows, columns, most, count;

  RowPieces(std::int64_t n_rows, std::int64_t n_columns)
      : rows(n_rows),
        columns(n_columns),
        most(std::max({std::int64_t{1}, (1 << 14) / columns, (rows + 255) / 256})),
        count((rows + most - 1) / most) {}

  /// Calls work(first row, rows, piece) for each.
  template <class Work>
  void run(const kernels::CpuContext& cpu, Work work) const {
    kernels::run_pieces(cpu, rows * columns, count, [&](std::int64_t piece, int) {
      work(piece * most, std::min(most, rows - piece * most), piece);
    });
  }
};

/// Whether kernels read the values of t: f32, f16 or bf16 on the CPU.
bool readable(const at::Tensor& t);
/// Whether kernels take x and a weight w together: they compute in f32 with a weight of any of
/// those types, or in bf16.
bool kernels_serve(const at::Tensor& x, const at::Tensor& w);
/// Whether kernels multiply x with packed weights: f32 or bf16 on the CPU.
bool kernels_serve_packed(const at::Tensor& x);
/// Whether a function of these has to record how its gradients come about.
bool recording(std::initializer_list<at::Tensor> inputs);

kernels::ValueType value_type(const at::Tensor& t);
/// f32 or bf16 of tensors of those.
kernels::PackedType compute_type(const at::Tensor& t);

/// A matrix [rows, columns] of which either rows or columns lie in one piece.
kernels::Plain plain_of(const at::Tensor& matrix);
/// t, or a copy of which `plain_of` can be had.
at::Tensor in_pieces(const at::Tensor& matrix);
/// x [N, columns] or [B, S, columns], or a copy, of which row n or b S + s begins n or b S + s
/// times stride(-2) values after the first.
at::Tensor in_rows(const at::Tensor& x);

}  // namespace moebius::ops
