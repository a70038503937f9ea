// The decoder, written once: the graph that trains is the graph that generates and the graph that
// tests a conversion. B batch, S sequence, D model width, H heads, G key/value heads, A head size.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <span>
#include <vector>

#include "config/weights.h"
#include "moe/moe.h"

namespace moebius {

using Weights = WeightsOf<Weight>;
using LayerWeights = LayerOf<Weight>;

/// Keys and values of the tokens so far, for one layer; with latents [B, 1, S, P] the rotary key
/// and [B, 1, S, R] the latent, of which all keys and values are made.
struct LayerCache {
  at::Tensor k_BGSA, v_BGSA;  ///< allocated to `capacity` along S
};

struct KvCache {
  std::vector<LayerCache> layers;
  std::int64_t length = 0, capacity = 0;
};
KvCache make_cache(const ModelSpec& spec, std::int64_t batch, std::int64_t capacity,
                   const at::TensorOptions& options);

/// Rotary angles of positions [start, start + count): cos and sin, f32 [count, A], or [count, P]
/// where only the last dimensions of a head turn. Undefined for learned positions.
struct Rotary {
  at::Tensor cos_SA, sin_SA;
  bool interleaved = false;  ///< as in RopeSpec
};
Rotary rotary(const ModelSpec& spec, std::int64_t start, std::int64_t count, at::Device device);

/// One sequence: int64 [1, S].
at::Tensor ids_tensor(std::span<const std::int32_t> ids);

/// Token plus position embeddings: [B, S, D] in `dtype`.
at::Tensor embed(const ModelSpec& spec, const Weights& w, const at::Tensor& ids_BS,
                 std::int64_t start, at::ScalarType dtype);

/// The attention half of a layer, residual included; each token looks back `window` (0: all). With
/// a cache, `length` tokens came before.
at::Tensor attention_block(const ModelSpec& spec, const LayerWeights& w, const at::Tensor& x_BSD,
                           const Rotary& rotary, std::int64_t window, LayerCache* cache,
                           std::int64_t length);

/// What the FFN of a layer sees: x after the norm, where norms come first.
at::Tensor ffn_input(const ModelSpec& spec, const LayerWeights& w, const at::Tensor& x_BSD);

struct FfnOutput {
  at::Tensor y_BSD;
  std::optional<Routing> routing;  ///< of MoE layers
};
/// The FFN half of a layer with the norm before it, without the residual. `layer` is its part of
/// the spec.
FfnOutput ffn_branch(const ModelSpec& spec, const LayerSpec& layer, const LayerWeights& w,
                     const at::Tensor& x_BSD);
/// The FFN half's end: x + residual_multiplier y, and the norm where norms come last.
at::Tensor add_ffn(const ModelSpec& spec, const LayerWeights& w, const at::Tensor& x_BSD,
                   const at::Tensor& y_BSD);

/// Final norm and head: [..., V], f32.
at::Tensor head(const ModelSpec& spec, const Weights& w, const at::Tensor& x);

struct DecoderOutput {
  at::Tensor hidden_BSD;          ///< after the last layer, before the final norm
  std::vector<Routing> routings;  ///< of the MoE layers, in order
};
/// All layers. `cache` may be null; else it must have room for S more tokens and grows by them.
DecoderOutput decode(const ModelSpec& spec, const Weights& w, const at::Tensor& ids_BS,
                     KvCache* cache, at::ScalarType dtype);

/// Throws Error unless every value of `logits` is finite; finds out by a second pass over ids_BS
/// in which layer the first NaN or infinity arises and names it.
void check_finite_logits(const at::Tensor& logits, const ModelSpec& spec, const Weights& w,
                         const at::Tensor& ids_BS, at::ScalarType dtype);

}  // namespace moebius
