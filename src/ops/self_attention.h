// Attention of sequences over themselves in one operation.
#pragma once

#include <ATen/core/Tensor.h>

namespace moebius::ops {

struct AttentionShape {
  std::int64_t heads, groups;  ///< of queries; of keys and values
  std::int64_t window = 0;     ///< how many tokens each sees, itself included; 0: all before
  double scale = 1;
};

/// Whether `self_attention` serves: f32 or bf16 on the CPU.
bool suits_self_attention(const at::Tensor& q);

/// y [B, S, H V] for q [B, S, H A], k [B, S, G A], v [B, S, G V] of one type: causal attention,
/// with gradients to all three, for which nothing but a number per query and head is kept.
at::Tensor self_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                          const AttentionShape& shape);

}  // namespace moebius::ops
