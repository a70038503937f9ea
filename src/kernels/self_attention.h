// Causal attention of whole sequences over themselves, with a way back: what training needs.
#pragma once

#include "kernels/drivers.h"

namespace moebius::kernels {

/// Sequences of S tokens, one behind the other; query head h reads keys and values of group h G /
/// H. Rows of q [B S, H A], k [B S, G A] and v [B S, G V] lie `ldq`, `ldk`, `ldv` values apart, and
/// are f32, or bf16, in which products are then computed, with sums in f32.
struct SelfAttention {
  const void *q, *k, *v;
  std::int64_t ldq, ldk, ldv;
  ValueType type;
  std::int64_t sequences, tokens, heads, groups, key_dim, value_dim;
  std::int64_t window;  ///< how many tokens each sees, itself included; 0: all before
  float scale;          ///< on q k
};

/// y [B S, H V]: the values that each token sees, weighted by the softmax of their scores; and the
/// logarithm of what its exponentials add up to [B, H, S].
void self_attention(const CpuContext& cpu, const SelfAttention& args, void* y, float* log_sums);

/// From dy [B S, H V] the gradients dq [B S, H A], dk [B S, G A], dv [B S, G V]. Shares are
/// computed again from `log_sums`, for some hundred queries at a time (Dao et al., FlashAttention,
/// 2022), so memory grows with S.
void self_attention_backward(const CpuContext& cpu, const SelfAttention& args,
                             const float* log_sums, const void* dy, void* dq, void* dk, void* dv);

}  // namespace moebius::kernels
