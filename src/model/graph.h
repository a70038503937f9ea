// The decoder, written once: the graph that trains is the graph that generates and the graph that
// tests a conversion. It is written over `Ops`, what computes: `TensorOps` (tensors, with
// gradients, on any device) or `CpuOps` (the kernels of the CPU on packed weights). Their `Tensor`s
// have any number of leading dimensions that mean tokens; D model width, H heads, G key/value
// heads, A head size.
//
// What is called `add_...` gives x up: it returns the sum, which may lie where x did.
#pragma once

#include "base/error.h"
#include "config/weights.h"
#include "moe/moe.h"

namespace moebius {

using Weights = WeightsOf<Weight>;
using LayerWeights = LayerOf<Weight>;

inline const Weight no_bias;
/// A product with a weight, and its bias where it has one.
struct Linear {
  const Weight& w;
  const Weight& bias = no_bias;
};

namespace graph {

/// Queries, keys and values before rotation; with latents the shared rotary key and the latent.
template <class Tensor>
struct Projections {
  Tensor q, k, v;
};

template <class Ops>
auto project_latent(Ops& ops, const AttentionOf<Weight>& a, const typename Ops::Tensor& x) {
  const LatentSpec& latent = *ops.spec().latent;
  const LatentOf<Weight>&to_q = a.q_latent, &to_kv = a.kv_latent;
  auto [q, kv] = a.q.defined()
                     ? ops.products(x, {Linear{a.q}, {to_kv.a, to_kv.a_bias}})
                     : ops.products(x, {Linear{to_q.a, to_q.a_bias}, {to_kv.a, to_kv.a_bias}});
  if (!a.q.defined()) q = ops.linear(ops.rms_norm(q, to_q.norm, latent.norm_eps, 1), {to_q.b});
  const auto c = ops.rms_norm(ops.columns(kv, 0, latent.kv_rank), to_kv.norm, latent.norm_eps, 1);
  const auto k = ops.columns(kv, latent.kv_rank, latent.rope_dim);
  return Projections<typename Ops::Tensor>{q, k, c};
}

template <class Ops>
auto project(Ops& ops, const LayerWeights& w, const typename Ops::Tensor& x_D) {
  const ModelSpec& spec = ops.spec();
  const auto x = spec.post_norm ? x_D : ops.norm(x_D, w.attn_norm);
  const AttentionOf<Weight>& a = w.attn;
  if (spec.latent) return project_latent(ops, a, x);
  auto [q, k, v] = ops.products(x, {Linear{a.q, a.q_bias}, {a.k, a.k_bias}, {a.v, a.v_bias}});
  const auto normed = [&](const auto& y, const Weight& weight, std::int64_t heads) {
    return weight.defined() ? ops.rms_norm(y, weight, spec.norm_eps, heads) : y;
  };
  if (spec.qk_norm == QkNorm::all) {
    q = normed(q, a.q_norm, 1);
    k = normed(k, a.k_norm, 1);
  }
  if (spec.clip_qkv > 0) {
    for (auto* y : {&q, &k, &v}) *y = ops.clamp(*y, spec.clip_qkv);
  }
  if (spec.qk_norm == QkNorm::head) {
    q = normed(q, a.q_norm, spec.heads);
    k = normed(k, a.k_norm, spec.kv_heads);
  }
  return Projections<typename Ops::Tensor>{q, k, v};
}

/// The attention half of a layer, residual included.
template <class Ops>
auto attention_block(Ops& ops, const LayerWeights& w, std::size_t layer, typename Ops::Tensor x_D) {
  const typename Ops::Scope scope(ops);
  const ModelSpec& spec = ops.spec();
  const auto p = project(ops, w, x_D);
  const auto q = ops.rotate(p.q, spec.heads);
  const auto k = ops.rotate(p.k, spec.latent ? 1 : spec.kv_heads);
  const auto y = spec.latent ? ops.attend_to_latents(layer, q, k, p.v, w.attn.kv_latent.b)
                             : ops.attend(layer, q, k, p.v);
  const auto sum = ops.add_linear(x_D, y, {w.attn.o, w.attn.o_bias});
  return spec.post_norm ? ops.norm_sum(sum, w.attn_norm) : sum;
}

/// x + residual_multiplier y, and the norm where norms come last: the end of a half of a layer.
template <class Ops>
auto add_branch(Ops& ops, const typename Ops::Tensor& x_D, const typename Ops::Tensor& y_D,
                const NormOf<Weight>& w) {
  const auto sum = ops.add(x_D, y_D);
  return ops.spec().post_norm ? ops.norm_sum(sum, w) : sum;
}

/// What the FFN of a layer sees: x after the norm, where norms come first.
template <class Ops>
auto ffn_input(Ops& ops, const LayerWeights& w, const typename Ops::Tensor& x_D) {
  return ops.spec().post_norm ? x_D : ops.norm(x_D, w.ffn_norm);
}

/// The FFN half of a layer, residual included.
template <class Ops>
auto ffn_block(Ops& ops, const LayerWeights& w, std::size_t layer, typename Ops::Tensor x_D) {
  const typename Ops::Scope scope(ops);
  const ModelSpec& spec = ops.spec();
  const auto x = ffn_input(ops, w, x_D);
  const auto sum = w.moe() != nullptr ? ops.add_moe(x_D, x, *w.moe(), layer)
                                      : ops.add_ffn(x_D, x, std::get<Ffn>(w.ffn), layer);
  return spec.post_norm ? ops.norm_sum(sum, w.ffn_norm) : sum;
}

/// Token plus position embeddings.
template <class Ops>
auto embed(Ops& ops, const Weights& w, const typename Ops::Ids& ids) {
  const ModelSpec& spec = ops.spec();
  auto x = ops.embedding(ids, w.embed);
  if (w.project_in.defined()) x = ops.linear(x, {w.project_in});
  if (spec.position == PositionKind::learned) x = ops.add_positions(x, w.position);
  return spec.embedding_multiplier == 1.0 ? x : ops.scale(x, spec.embedding_multiplier);
}

/// All layers: what the final norm and the head are given.
template <class Ops>
auto decode(Ops& ops, const Weights& w, const typename Ops::Ids& ids) {
  auto x = embed(ops, w, ids);
  for (std::size_t l = 0; l < w.layers.size(); ++l) {
    x = attention_block(ops, w.layers[l], l, x);
    x = ffn_block(ops, w.layers[l], l, x);
  }
  return x;
}

/// Final norm and head: [..., V], which divided by `logits_divisor` are the logits.
template <class Ops>
auto head(Ops& ops, const Weights& w, const typename Ops::Tensor& x_D) {
  auto x = ops.spec().final_norm ? ops.norm(x_D, w.norm) : x_D;
  if (w.project_out.defined()) x = ops.linear(x, {w.project_out});
  return ops.linear(x, {w.head.defined() ? w.head : w.embed});
}

/// After logits that are not finite: throws Error that says in which layer a pass over `ids` first
/// meets NaN or infinity.
template <class Ops>
[[noreturn]] void fail_where_not_finite(Ops& ops, const Weights& w, const typename Ops::Ids& ids) {
  const auto fail_in = [](const std::string& where) {
    fail("non-finite logits: the first NaN or infinity is in {}", where);
  };
  auto x = embed(ops, w, ids);
  if (!ops.all_finite(x)) fail_in("the embedding");
  for (std::size_t l = 0; l < w.layers.size(); ++l) {
    const bool finite = [&] {  // attention may hide a NaN among its scores
      const typename Ops::Scope scope(ops);
      const auto p = project(ops, w.layers[l], x);
      return ops.all_finite(p.q) && ops.all_finite(p.k) && ops.all_finite(p.v);
    }();
    x = attention_block(ops, w.layers[l], l, x);
    if (!finite || !ops.all_finite(x)) fail_in(fmt::format("the attention of layer {}", l));
    x = ffn_block(ops, w.layers[l], l, x);
    if (!ops.all_finite(x)) {
      const char* part = w.layers[l].moe() != nullptr ? "MoE" : "FFN";
      fail_in(fmt::format("the {} of layer {}", part, l));
    }
  }
  fail("non-finite logits: the first NaN or infinity is in the final norm or the head");
}

}  // namespace graph
}  // namespace moebius
