// Causal attention over a paged KV cache. Keys and values are stored as packed matrices, so that
// both products run on the tiles of all other products. G key and value heads.
#pragma once

#include <span>

#include "kernels/cpu_context.h"

namespace moebius::kernels {

/// The layout of a page for one layer: for each of G heads its keys, a packed matrix [64, key_dim],
/// then its values transposed, [value_dim, 64], in f32, bf16 or int8. int8 keys have a scale for 64
/// neighbours of a token's key; int8 values have scales of 1 in the panels, and after them one bf16
/// scale for each token's value.
struct KvLayout {
  std::int64_t groups = 0, key_dim = 0, value_dim = 0;
  PackedType type = PackedType::bf16;

  PackedShape keys() const { return {type, page_tokens, key_dim, page_tokens}; }
  PackedShape values() const { return {type, value_dim, page_tokens, page_tokens}; }
  /// Byte offsets in a head's part of a page.
  std::int64_t values_at() const { return keys().bytes(); }
  std::int64_t value_scales_at() const { return values_at() + values().bytes(); }
  std::int64_t group_bytes() const {
    return value_scales_at() + (type == PackedType::int8 ? 2 * page_tokens : 0);
  }
  std::int64_t bytes() const { return groups * group_bytes(); }
};

/// The pages of one sequence; a page holds all layers, this one from byte `begin` on.
struct KvPages {
  std::byte* const* pages = nullptr;
  std::int64_t begin = 0;

  std::byte* operator[](std::int64_t page) const { return pages[page] + begin; }
};

/// New tokens [past, past + count) of one sequence: each attends to itself and those before, at
/// most `window` tokens (0: all). Row strides are those of `Attention`.
struct NewTokens {
  KvPages pages;             ///< with capacity for them; zero when they were new
  const float* q = nullptr;  ///< [count, H key_dim]
  const float* k = nullptr;  ///< [count, G key_dim]
  const float* v = nullptr;  ///< [count, G value_dim]
  float* y = nullptr;        ///< [count, H value_dim]
  std::int64_t count = 0, past = 0;
};

/// Appends keys and values to the pages, then y = softmax(scale q k) v. H is a multiple of G; head
/// h reads keys and values of group h G / H. An online softmax runs over chunks of 512 tokens,
/// which are merged in order (as in flash attention, Dao et al. 2022) whichever threads computed
/// them. Over an int8 cache queries are int8 too, and probabilities a sum of two int8.
struct Attention {
  KvLayout layout;
  std::int64_t heads = 0, window = 0;
  float scale = 1.0f;
  std::int64_t ldq = 0, ldk = 0, ldv = 0, ldy = 0;  ///< row strides
};
void attend(const CpuContext& cpu, const Attention& args, std::span<const NewTokens> sequences);

}  // namespace moebius::kernels
