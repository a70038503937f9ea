// Rotary position embeddings.
#pragma once

#include <ATen/core/Tensor.h>

namespace moebius::ops {

/// Rotates each of `heads` heads of x by the angles of its row, whose cosines and sines are f32:
/// x [N, H A] with cos and sin [N, P], or x [B, S, H A] with [S, P], the same for every sequence.
/// The first half of a head's last 2 P values rotates with the second half (RoFormer, Su et al.
/// 2021, in the layout of GPT-NeoX). With `interleaved`, neighbours in x rotate with each other and
/// are de-interleaved into halves. Computed in f32; one operation with gradients to x on the CPU.
/// Throws Error where the rows of cos and sin are not those of x.
at::Tensor rotate(const at::Tensor& x, const at::Tensor& cos_SP, const at::Tensor& sin_SP,
                  std::int64_t heads, bool interleaved);

}  // namespace moebius::ops
