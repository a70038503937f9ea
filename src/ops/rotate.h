// Rotary position embeddings.
#pragma once

#include <ATen/core/Tensor.h>

namespace moebius::ops {

/// Rotates each of `heads` heads of x [B, S, H A] by the angles of its position, whose cos and sin
/// [S, P] are f32: the halves of its last 2 P values turn with each other (RoFormer, Su et al.
/// 2021, in the layout of GPT-NeoX). `interleaved` neighbours, which turn with each other, become
/// halves. Computed in f32; one operation with gradients to x on the CPU.
at::Tensor rotate(const at::Tensor& x, const at::Tensor& cos_SP, const at::Tensor& sin_SP,
                  std::int64_t heads, bool interleaved);

}  // namespace moebius::ops
