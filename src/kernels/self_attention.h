// Causal self-attention over a ragged batch of sequences, forward and backward: what training
// needs. Sequences of unequal length follow each other without padding.
#pragma once

#include <span>

#include "kernels/cpu_context.h"

namespace moebius::kernels {

/// Arguments of forward and backward. N is the number of rows (tokens) of all sequences together.
/// Query head h reads keys and values of group h G / H (grouped-query attention). Rows of q
/// [N, H A], k [N, G A] and v [N, G V] are `ldq`, `ldk`, `ldv` values apart; they are f32, or bf16,
/// in which products are then computed, with f32 accumulators.
struct SelfAttention {
  const void *q, *k, *v;
  std::int64_t ldq, ldk, ldv;
  ValueType type;
  /// Sequence i is rows [sequence_starts[i], sequence_starts[i + 1]): the first start is 0, the
  /// last one N. A query attends to its own sequence alone. Sequences may be empty.
  std::span<const std::int64_t> sequence_starts;
  std::int64_t heads, groups, key_dim, value_dim;
  std::int64_t window;  ///< keys that a query attends to, its own included; 0: all before it
  float scale;          ///< on q k
};

/// y [N, H V] = softmax(scale q k) v, and log_sums [H, N], the logarithms of the softmax
/// denominators. A sequence has the same bits whatever the others are.
void self_attention(const CpuContext& cpu, const SelfAttention& args, void* y, float* log_sums);

/// Backward pass: from dy [N, H V] the gradients dq [N, H A], dk [N, G A], dv [N, G V].
/// Probabilities are recomputed from `log_sums` for some hundred queries at a time (Dao et al.,
/// FlashAttention, 2022), so memory grows linearly with the longest sequence.
void self_attention_backward(const CpuContext& cpu, const SelfAttention& args,
                             const float* log_sums, const void* dy, void* dq, void* dk, void* dv);

}  // namespace moebius::kernels
