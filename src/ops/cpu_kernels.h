// What ops need to call the CPU kernels on tensors: threads and scratch memory, types, pointers.
#pragma once

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <memory>

#include "base/compute.h"
#include "kernels/cpu_context.h"
#include "kernels/matrix.h"

namespace moebius::ops {

/// Makes the ops that the calling thread runs use `resources` for as long as it lives; the backward
/// pass of a loss on the CPU runs on the thread that asks for it, so it is included. Scopes nest.
/// An unbound thread computes with resources of its own, which end with it.
class ComputeBinding {
 public:
  explicit ComputeBinding(std::shared_ptr<ComputeResources> resources);
  ~ComputeBinding();
  ComputeBinding(const ComputeBinding&) = delete;
  ComputeBinding& operator=(const ComputeBinding&) = delete;

 private:
  std::shared_ptr<ComputeResources> resources_;
  ComputeResources* outer_;
};

/// The kernel table with the executor and the arena that the calling thread is bound to, in
/// exclusive use while it lives. It has as many threads as ATen; within a parallel region of ATen
/// one, and resources of the thread's own.
class CpuKernels {
 public:
  CpuKernels();

  operator const kernels::CpuContext&() const { return cpu_; }  // NOLINT: passed as one everywhere
  const kernels::CpuContext* operator->() const { return &cpu_; }

 private:
  ComputeResources::Use use_;
  kernels::CpuContext cpu_;
};

/// A matrix [rows, columns] divided into at most 256 pieces of rows, the same for any number of
/// threads.
struct RowPieces {
  std::int64_t rows, columns, max_rows, count;

  RowPieces(std::int64_t n_rows, std::int64_t n_columns)
      : rows(n_rows),
        columns(n_columns),
        max_rows(std::max({std::int64_t{1}, (1 << 14) / columns, (rows + 255) / 256})),
        count((rows + max_rows - 1) / max_rows) {}

  /// Calls work(first row, rows, piece) for each.
  template <class Work>
  void run(const kernels::CpuContext& cpu, Work work) const {
    kernels::run_pieces(cpu, rows * columns, count, [&](std::int64_t piece, int) {
      work(piece * max_rows, std::min(max_rows, rows - piece * max_rows), piece);
    });
  }
};

/// Whether kernels read the values of t: f32, f16 or bf16 on the CPU.
bool readable(const at::Tensor& t);
/// Whether kernels multiply x with a weight w: x in f32 with w of any of those types, or both bf16.
bool kernels_serve(const at::Tensor& x, const at::Tensor& w);
/// Whether kernels multiply x with packed weights: f32 or bf16 on the CPU.
bool kernels_serve_packed(const at::Tensor& x);
/// Whether a function of these inputs has to be recorded for its backward pass.
bool recording(std::initializer_list<at::Tensor> inputs);

kernels::ValueType value_type(const at::Tensor& t);
/// The type of products with t: bf16 for bf16, else f32.
kernels::PackedType compute_type(const at::Tensor& t);

/// A matrix [rows, columns] of which either rows or columns are contiguous.
kernels::Plain plain_of(const at::Tensor& matrix);
/// The matrix, or a contiguous copy if neither its rows nor its columns are contiguous.
at::Tensor strided(const at::Tensor& matrix);
/// x [N, columns] or [B, S, columns], or a copy, of which row n or b S + s begins n or b S + s
/// times stride(-2) values after the first.
at::Tensor in_rows(const at::Tensor& x);

}  // namespace moebius::ops
