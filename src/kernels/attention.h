// Causal attention over keys and values in pages, in the layout of packed matrices, so that
// both products are made of the same tiles as everything else. G key/value heads.
#pragma once

#include <span>

#include "kernels/cpu_context.h"

namespace moebius::kernels {

/// What a page holds of one layer: for each of G heads its keys as a matrix [64, key_dim], then its
/// values transposed as one of [value_dim, 64], in f32, bf16 or int8. Keys of int8 have a scale for
/// 64 neighbours of a token's key; values have ones, and behind them lies a scale, bf16, for each
/// token's value.
struct KvLayout {
  std::int64_t groups = 0, key_dim = 0, value_dim = 0;
  PackedType type = PackedType::bf16;

  PackedShape keys() const { return {type, page_tokens, key_dim, page_tokens}; }
  PackedShape values() const { return {type, value_dim, page_tokens, page_tokens}; }
  /// Where each part begins in what a head has of a page.
  std::int64_t values_at() const { return keys().bytes(); }
  std::int64_t value_scales_at() const { return values_at() + values().bytes(); }
  std::int64_t group_bytes() const {
    return value_scales_at() + (type == PackedType::int8 ? 2 * page_tokens : 0);
  }
  std::int64_t bytes() const { return groups * group_bytes(); }
};

/// The pages of one sequence; each holds all layers, the one in question from byte `begin` on.
struct KvPages {
  std::byte* const* pages = nullptr;
  std::int64_t begin = 0;

  std::byte* operator[](std::int64_t page) const { return pages[page] + begin; }
};

/// New tokens of one sequence, [past, past + count): each sees itself and what came before, at most
/// `window` tokens (0: all). Rows are those of `Attention`.
struct NewTokens {
  KvPages pages;             ///< with room for them; zero when they were new
  const float* q = nullptr;  ///< [count, H key_dim]
  const float* k = nullptr;  ///< [count, G key_dim]
  const float* v = nullptr;  ///< [count, G value_dim]
  float* y = nullptr;        ///< [count, H value_dim]
  std::int64_t count = 0, past = 0;
};

/// Adds keys and values to the pages, then y = softmax(scale q.k) v. H is a multiple of G; head h
/// reads keys and values h G / H. Softmax runs over chunks of 512 tokens that are put together in
/// order (as in flash attention, Dao et al. 2022), wherever they were computed. Over int8 queries
/// are int8 too, and shares of two, the second for what the first leaves over.
struct Attention {
  KvLayout layout;
  std::int64_t heads = 0, window = 0;
  float scale = 1.0f;
  std::int64_t ldq = 0, ldk = 0, ldv = 0, ldy = 0;  ///< from row to row
};
void attend(const CpuContext& cpu, const Attention& args, std::span<const NewTokens> sequences);

}  // namespace moebius::kernels
