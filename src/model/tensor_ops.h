// The operations of the graph on tensors: with gradients, on any device. Activations are [N, ...],
// the N tokens of a batch of sequences of unequal length, or [B, S, ...], B sequences of S tokens.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <vector>

#include "data/token_batch.h"
#include "model/graph.h"
#include "ops/linear.h"

namespace moebius {

/// Keys and values of the tokens so far, for one layer: [B, capacity, G A]; with latents the rotary
/// key and the latent, of which all keys and values are made: views of one tensor [B, capacity, P +
/// R].
struct LayerCache {
  at::Tensor k, v;
};

struct KvCache {
  std::vector<LayerCache> layers;
  std::int64_t length = 0, capacity = 0;
};
KvCache make_cache(const ModelSpec& spec, std::int64_t batch, std::int64_t capacity,
                   const at::TensorOptions& options);

/// Rotary angles of positions [start, start + count): cos and sin, f32 [count, half of what turns].
/// Undefined for learned positions.
struct Rotary {
  at::Tensor cos_SP, sin_SP;
};
Rotary rotary(const ModelSpec& spec, std::int64_t start, std::int64_t count, at::Device device);
/// The angles of every token of a batch: [N, half of what turns].
Rotary rotary(const ModelSpec& spec, const TokenBatch& batch, at::Device device);

/// One pass over the tokens of a batch, or over tokens [B, S] that follow those of `cache`, if
/// there is one. Activations are of `dtype`.
class TensorOps {
 public:
  using Tensor = at::Tensor;  ///< [N, ...] or [B, S, ...]
  using Ids = at::Tensor;     ///< int64 [N] or [B, S]
  struct Scope {
    explicit Scope(TensorOps&) {}
  };

  TensorOps(const ModelSpec& spec, std::int64_t count, at::ScalarType dtype, at::Device device,
            KvCache* cache = nullptr);
  TensorOps(const ModelSpec& spec, const TokenBatch& batch, at::ScalarType dtype,
            at::Device device);

  const ModelSpec& spec() const { return spec_; }
  /// Of the MoE layers so far, in order.
  std::vector<Routing>& routings() { return routings_; }

  Tensor embedding(const Ids& ids, const Weight& w) const { return ops::embedding(ids, w, dtype_); }
  Tensor add_positions(const Tensor& x, const Weight& w_CD) const;
  Tensor scale(const Tensor& x, double factor) const;
  Tensor clamp(const Tensor& x, double bound) const;
  Tensor columns(const Tensor& x, std::int64_t begin, std::int64_t count) const;
  bool all_finite(const Tensor& x) const;

  Tensor norm(const Tensor& x, const NormOf<Weight>& w) const;
  Tensor norm_sum(const Tensor& x, const NormOf<Weight>& w) const { return norm(x, w); }
  /// RMS norm of each of `heads` parts of x.
  Tensor rms_norm(const Tensor& x, const Weight& w, double eps, std::int64_t heads) const;

  Tensor linear(const Tensor& x, const Linear& l) const { return ops::linear(x, l.w, l.bias); }
  template <std::size_t N>
  std::array<Tensor, N> products(const Tensor& x, const Linear (&ls)[N]) const {
    std::array<Tensor, N> out;
    for (std::size_t i = 0; i < N; ++i) out[i] = linear(x, ls[i]);
    return out;
  }

  /// Rotates each head; interleaved ones become halves, alike in queries and keys.
  Tensor rotate(const Tensor& x, std::int64_t heads) const;
  /// Causal attention within the window of the layer.
  Tensor attend(std::size_t layer, const Tensor& q, const Tensor& k, const Tensor& v);
  /// The same over latents c [..., R] and the rotary keys k [..., P]; b is [H X, R], of each head
  /// A - P rows for its key and the others for its value.
  Tensor attend_to_latents(std::size_t layer, const Tensor& q, const Tensor& k, const Tensor& c,
                           const Weight& b);

  /// x + residual_multiplier y.
  Tensor add(const Tensor& x, const Tensor& y) const;
  Tensor add_linear(const Tensor& x, const Tensor& y, const Linear& l) const {
    return add(x, linear(y, l));
  }
  Tensor add_ffn(const Tensor& x, const Tensor& y, const Ffn& w, std::size_t) const {
    return add(x, ffn(y, w, spec_.activation));
  }
  /// y [..., D] through the MoE.
  Tensor moe(const Tensor& y, const Moe& w, const MoeSpec& moe);
  Tensor add_moe(const Tensor& x, const Tensor& y, const Moe& w, std::size_t layer) {
    return add(x, moe(y, w, *spec_.layers[layer].moe));
  }

 protected:
  /// Without a cache, of tokens whose angles are known.
  TensorOps(const ModelSpec& spec, at::ScalarType dtype, Rotary rotary);

  at::ScalarType dtype() const { return dtype_; }
  const Rotary& angles() const { return rotary_; }

 private:
  /// Adds what is new to the layer's cache; all that is in it then.
  std::pair<Tensor, Tensor> remembered(std::size_t layer, const Tensor& k, const Tensor& v) const;

  const ModelSpec& spec_;
  at::ScalarType dtype_;
  std::int64_t start_;
  KvCache* cache_;
  Rotary rotary_;
  at::Tensor sequence_starts_, positions_N_;  ///< of a batch, int64, the first on the CPU
  std::vector<Routing> routings_;
};

}  // namespace moebius
