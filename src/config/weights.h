// The list of a decoder's weights. `WeightsOf<T>` is a plain tree whose leaves are shapes or
// weights; `for_each_weight` visits the leaves of one tree, or of several of equal structure
// together. A leaf that a model lacks (no bias, tied head) is visited too and is empty.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "config/model_spec.h"

namespace moebius {

template <class T>
struct NormOf {
  T weight{}, bias{};  // [D]
};

/// A low-rank projection through a latent of width R: b norm(a x).
template <class T>
struct LatentOf {
  T a{}, a_bias{};  // [R, D], [R]; of keys and values [R + P, D]: the shared rotary key comes last
  T norm{}, b{};    // [R], [rows, R]
};

/// With latents `k` and `v` are empty, and `q` is where `q_latent` is not; rows of `kv_latent.b`
/// are a head's A - P of its key and then its value, head by head.
template <class T>
struct AttentionOf {
  T q{}, k{}, v{}, o{};  // [H A, D], [G A, D], [G A, D], [D, H A]
  T q_bias{}, k_bias{}, v_bias{}, o_bias{};
  T q_norm{}, k_norm{};  // [A] of a head, or [H A] and [G A] of all
  LatentOf<T> q_latent, kv_latent;
};

/// A feed-forward network; as experts every leaf has a leading E. `gate` is empty unless gated.
template <class T>
struct FfnOf {
  T gate{}, up{}, down{};  // [F, D], [F, D], [D, F]
  T gate_bias{}, up_bias{}, down_bias{};
};

template <class T>
struct RouterOf {
  T weight{}, bias{};  // [E, D], [E]
  T up{}, up_bias{};   // the same, of scores by neurons
  T scale{};           // [E], u of `one_plus`
  T correction{};      // [E], added to the scores for the choice only; see `is_buffer`
};

template <class T>
struct MoeOf {
  RouterOf<T> router;
  FfnOf<T> experts;
  FfnOf<T> shared;
  T shared_gate{};  // [1, D]
  T bias{};         // [D], where down's bias is added once
};

template <class T>
struct LayerOf {
  NormOf<T> attn_norm, ffn_norm;
  AttentionOf<T> attn;
  std::variant<FfnOf<T>, MoeOf<T>> ffn;

  const MoeOf<T>* moe() const { return std::get_if<MoeOf<T>>(&ffn); }
};

template <class T>
struct WeightsOf {
  T embed{};                      // [V, W], W embed_dim
  T project_in{}, project_out{};  // [D, W], [W, D] where W is not D
  T position{};                   // [context, D]
  std::vector<LayerOf<T>> layers;
  NormOf<T> norm;
  T head{};  // [V, W], empty when tied to `embed`
};

/// A tree of empty leaves with the structure that `spec` asks for.
template <class T>
WeightsOf<T> make_weights(const ModelSpec& spec) {
  WeightsOf<T> tree;
  tree.layers.resize(spec.layers.size());
  for (std::size_t l = 0; l < spec.layers.size(); ++l) {
    if (spec.layers[l].moe) tree.layers[l].ffn = MoeOf<T>{};
  }
  return tree;
}

namespace detail {

template <class Fn, class... W>
void visit_norm(Fn& fn, const std::string& name, W&... w) {
  fn(name + ".weight", w.weight...);
  fn(name + ".bias", w.bias...);
}

template <class Fn, class... W>
void visit_ffn(Fn& fn, const std::string& name, W&... w) {
  fn(name + ".gate.weight", w.gate...);
  fn(name + ".gate.bias", w.gate_bias...);
  fn(name + ".up.weight", w.up...);
  fn(name + ".up.bias", w.up_bias...);
  fn(name + ".down.weight", w.down...);
  fn(name + ".down.bias", w.down_bias...);
}

template <class Fn, class... W>
void visit_latent(Fn& fn, const std::string& name, W&... w) {
  fn(name + ".a.weight", w.a...);
  fn(name + ".a.bias", w.a_bias...);
  fn(name + ".norm.weight", w.norm...);
  fn(name + ".b.weight", w.b...);
}

template <class Fn, class... W>
void visit_attention(Fn& fn, const std::string& name, W&... w) {
  fn(name + ".q.weight", w.q...);
  fn(name + ".q.bias", w.q_bias...);
  fn(name + ".k.weight", w.k...);
  fn(name + ".k.bias", w.k_bias...);
  fn(name + ".v.weight", w.v...);
  fn(name + ".v.bias", w.v_bias...);
  fn(name + ".o.weight", w.o...);
  fn(name + ".o.bias", w.o_bias...);
  fn(name + ".q_norm.weight", w.q_norm...);
  fn(name + ".k_norm.weight", w.k_norm...);
  visit_latent(fn, name + ".q_latent", w.q_latent...);
  visit_latent(fn, name + ".kv_latent", w.kv_latent...);
}

template <class Fn, class... W>
void visit_moe(Fn& fn, const std::string& name, W&... w) {
  fn(name + ".router.weight", w.router.weight...);
  fn(name + ".router.bias", w.router.bias...);
  fn(name + ".router.up.weight", w.router.up...);
  fn(name + ".router.up.bias", w.router.up_bias...);
  fn(name + ".router.scale", w.router.scale...);
  fn(name + ".router.correction", w.router.correction...);
  visit_ffn(fn, name + ".experts", w.experts...);
  visit_ffn(fn, name + ".shared", w.shared...);
  fn(name + ".shared_gate.weight", w.shared_gate...);
  fn(name + ".bias", w.bias...);
}

template <class Fn, class First, class... W>
void visit_layer(Fn& fn, const std::string& name, First& first, W&... w) {
  visit_norm(fn, name + ".attn_norm", first.attn_norm, w.attn_norm...);
  visit_attention(fn, name + ".attn", first.attn, w.attn...);
  visit_norm(fn, name + ".ffn_norm", first.ffn_norm, w.ffn_norm...);
  if (first.ffn.index() == 0) {
    visit_ffn(fn, name + ".ffn", std::get<0>(first.ffn), std::get<0>(w.ffn)...);
    return;
  }
  visit_moe(fn, name + ".moe", std::get<1>(first.ffn), std::get<1>(w.ffn)...);
}

}  // namespace detail

/// Calls `fn(slot_name, leaf...)` for every leaf, each storage once: a tied head is not visited.
/// Slot names: "embed.weight", "layers.3.attn.q.weight", "layers.3.moe.experts.up.weight", ...
/// The trees may be const; all need the structure of the first.
template <class Fn, class First, class... W>
void for_each_weight(Fn&& fn, First& first, W&... w) {
  fn("embed.weight", first.embed, w.embed...);
  fn("project_in.weight", first.project_in, w.project_in...);
  fn("project_out.weight", first.project_out, w.project_out...);
  fn("position.weight", first.position, w.position...);
  for (std::size_t l = 0; l < first.layers.size(); ++l) {
    detail::visit_layer(fn, "layers." + std::to_string(l), first.layers[l], w.layers[l]...);
  }
  detail::visit_norm(fn, "norm", first.norm, w.norm...);
  fn("head.weight", first.head, w.head...);
}

using Shape = std::vector<std::int64_t>;  ///< empty: the model has no such weight

/// The shapes that `spec` asks for.
WeightsOf<Shape> weight_shapes(const ModelSpec& spec);

/// Whether a slot is a buffer, not a parameter: the router's correction. Training does not change
/// it, and it keeps its stored dtype, f32 if initialised here, since rounding would change which
/// experts are chosen.
bool is_buffer(std::string_view slot);

std::int64_t element_count(const Shape& shape);
std::string to_string(const Shape& shape);  ///< "[64, 32]"

/// What a model costs. FLOPs per token = 2 x parameters in matrices that a token is multiplied
/// with: head included, look-ups, norms, biases and attention scores excluded.
struct ModelCost {
  std::int64_t parameters = 0, active_parameters = 0, flops_per_token = 0;
};
ModelCost model_cost(const ModelSpec& spec);

}  // namespace moebius
