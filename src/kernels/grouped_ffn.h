// FFNs that each have rows of their own, the experts of a layer or one FFN, forward and backward.
#pragma once

#include <span>

#include "kernels/cpu_context.h"
#include "kernels/matrix.h"

namespace moebius::kernels {

/// One FFN, down(act(gate x) * up x) or, without gate, down(act(up x)), and its rows [begin, end)
/// among the sorted ones.
struct FfnJob {
  Matrix gate, up, down;
  const float *gate_bias = nullptr, *up_bias = nullptr, *down_bias = nullptr;
  std::int64_t begin = 0, end = 0;
};

/// For each sorted row n adds scales[n] FFN(x[rows[n]]) of its job to y[rows[n]], y [T, D]. The
/// rows of a job are distinct. Jobs without rows cost nothing; a job's weights are read from memory
/// once, however many rows it has.
struct GroupedFfn {
  std::span<const FfnJob> jobs;
  const std::int32_t* rows = nullptr;
  const float* scales = nullptr;
  const void* x = nullptr;  ///< [T, D], f32, or bf16 for matrices in bf16
  float* y = nullptr;
  std::int64_t tokens = 0, ldx = 0, ldy = 0;
  Activation activation = Activation::silu;
  ValueType type = ValueType::f32;  ///< of x
  /// Where gate x and up x of the sorted rows are kept for the backward pass [N, F], if anywhere:
  /// in the jobs' `gradient_type`.
  void *gate_x = nullptr, *up_x = nullptr;
};
void grouped_ffn(const CpuContext& cpu, const GroupedFfn& args);

/// Gradients of one FFN's weights; null where nobody asks.
struct FfnGradients {
  void *gate = nullptr, *up = nullptr, *down = nullptr;
  float *gate_bias = nullptr, *up_bias = nullptr, *down_bias = nullptr;
};

/// The type in which gradients pass through an FFN: bf16 if all its matrices are bf16, else f32.
ValueType gradient_type(const FfnJob& job);

/// Backward pass of `grouped_ffn`: x, dy, what was kept and the gradients of matrices have the
/// jobs' `gradient_type`. Plain matrices have that type too. Packed ones, of any type, are frozen:
/// no gradient of them is asked for, and x and the scales have those of the dequantised weights.
/// All jobs have one width and one type. Sums run in an order that does not depend on threads.
struct GroupedFfnBackward {
  std::span<const FfnJob> jobs;
  std::span<const FfnGradients> gradients;
  const std::int32_t* rows = nullptr;
  const float* scales = nullptr;
  const void *x = nullptr, *dy = nullptr;         ///< [T, D]
  const void *gate_x = nullptr, *up_x = nullptr;  ///< as kept
  Activation activation = Activation::silu;
  float* dx = nullptr;       ///< [T, D], to which is added; null if nobody asks
  float* dscales = nullptr;  ///< of each sorted row
};
void grouped_ffn_backward(const CpuContext& cpu, const GroupedFfnBackward& args);

}  // namespace moebius::kernels
