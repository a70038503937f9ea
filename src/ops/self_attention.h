// Causal self-attention of a batch of sequences in one operation of autograd.
#pragma once

#include <ATen/core/Tensor.h>

namespace moebius::ops {

struct AttentionShape {
  std::int64_t heads, groups;  ///< of queries; of keys and values
  std::int64_t window = 0;     ///< keys that a query attends to, its own included; 0: all before
  double scale = 1;
};

/// Whether `self_attention` runs on the kernels of the CPU: f32 or bf16 there.
bool suits_self_attention(const at::Tensor& q);

/// y [N, H V] for q [N, H A], k [N, G A], v [N, G V] of one type, the rows of several sequences one
/// behind the other: sequence i is rows [sequence_starts[i], sequence_starts[i + 1]), and a query
/// attends within it to its own row and those before. `sequence_starts` is int64 on the CPU, from 0
/// to N and nowhere falling. With gradients to q, k and v, for which one number per query and head
/// is kept. Other types and devices use scaled_dot_product_attention, a call per sequence, or one
/// for all where lengths are equal. Throws Error where a shape or a start is wrong.
at::Tensor self_attention(const at::Tensor& q_NX, const at::Tensor& k_NX, const at::Tensor& v_NX,
                          const at::Tensor& sequence_starts, const AttentionShape& shape);

/// The same of B sequences of S tokens: y [B, S, H V] for q [B, S, H A], k [B, S, G A],
/// v [B, S, G V].
at::Tensor self_attention(const at::Tensor& q_BSX, const at::Tensor& k_BSX, const at::Tensor& v_BSX,
                          const AttentionShape& shape);

}  // namespace moebius::ops
