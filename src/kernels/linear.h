// Products of activations with matrices (GEMM). A row's result depends neither on the rows beside
// it nor on the number of threads.
#pragma once

#include <span>

#include "kernels/cpu_context.h"
#include "kernels/matrix.h"

namespace moebius::kernels {

/// An output of more bytes, if it is not read soon, is written with non-temporal stores.
inline constexpr std::int64_t non_temporal_bytes = 4 << 20;

/// y [M, N] = x [M, K] times w transposed, plus bias [N] where there is one; or, with `add`, that
/// times `scale` is added to y, then f32.
struct Product {
  Matrix w;
  const float* bias = nullptr;
  void* y = nullptr;
  std::int64_t ldy = 0;
  bool add = false;
  float scale = 1.0f;
  ValueType type = ValueType::f32;  ///< of y: f32 or bf16
  bool non_temporal = false;        ///< y is large, and not read soon
};
/// Several products of the same x; their matrices have one K, type and group. x is f32, or bf16 for
/// matrices in bf16; with ids or transposed only if its type is that of the matrices.
void linear(const CpuContext& cpu, const Plain& x, std::int64_t m,
            std::span<const Product> products);

}  // namespace moebius::kernels
