#include "config/weights.h"

#include <fmt/ranges.h>

namespace moebius {
namespace {

/// Shapes of one FFN of width F; `experts` > 0 adds the leading E.
FfnOf<Shape> ffn_shapes(const ModelSpec& spec, std::int64_t width, std::int64_t experts) {
  const auto lead = [&](Shape shape) {
    if (experts > 0) shape.insert(shape.begin(), experts);
    return shape;
  };
  FfnOf<Shape> shapes;
  shapes.up = lead({width, spec.d_model});
  shapes.down = lead({spec.d_model, width});
  if (spec.gated) shapes.gate = shapes.up;
  if (spec.mlp_bias) {
    shapes.up_bias = lead({width});
    shapes.down_bias = lead({spec.d_model});
    if (spec.gated) shapes.gate_bias = shapes.up_bias;
  }
  return shapes;
}

RouterOf<Shape> router_shapes(const ModelSpec& spec, const MoeSpec& moe) {
  RouterOf<Shape> router;
  router.weight = {moe.experts, spec.d_model};
  const bool neurons = moe.scores == RouterScores::neurons;
  if (neurons && spec.gated) router.up = router.weight;
  if (moe.router_bias || (neurons && spec.mlp_bias)) router.bias = {moe.experts};
  if (neurons && spec.gated && spec.mlp_bias) router.up_bias = {moe.experts};
  if (moe.weights == RouterWeights::one_plus) router.scale = {moe.experts};
  if (moe.corrected) router.correction = {moe.experts};
  return router;
}

MoeOf<Shape> moe_shapes(const ModelSpec& spec, const MoeSpec& moe) {
  MoeOf<Shape> shapes;
  shapes.router = router_shapes(spec, moe);
  shapes.experts = ffn_shapes(spec, moe.width, moe.experts);
  if (moe.shared_width > 0) shapes.shared = ffn_shapes(spec, moe.shared_width, 0);
  if (moe.shared_gate) shapes.shared_gate = {1, spec.d_model};
  if (!moe.bias_once || !spec.mlp_bias) return shapes;
  shapes.experts.down_bias = shapes.shared.down_bias = {};
  shapes.bias = {spec.d_model};
  return shapes;
}

LatentOf<Shape> latent_shapes(std::int64_t in, std::int64_t rank, std::int64_t beside,
                              std::int64_t out, bool bias) {
  return {.a = {rank + beside, in},
          .a_bias = bias ? Shape{rank + beside} : Shape{},
          .norm = {rank},
          .b = {out, rank}};
}

AttentionOf<Shape> latent_attention_shapes(const ModelSpec& spec, const LatentSpec& latent) {
  AttentionOf<Shape> shapes;
  const std::int64_t d = spec.d_model, q_rows = spec.heads * spec.head_dim;
  const std::int64_t kv_rows = spec.heads * (spec.head_dim - latent.rope_dim + latent.value_dim);
  if (latent.q_rank > 0) {
    shapes.q_latent = latent_shapes(d, latent.q_rank, 0, q_rows, spec.qkv_bias);
  } else {
    shapes.q = {q_rows, d};
  }
  shapes.kv_latent = latent_shapes(d, latent.kv_rank, latent.rope_dim, kv_rows, spec.qkv_bias);
  shapes.o = {d, spec.heads * latent.value_dim};
  if (spec.o_bias) shapes.o_bias = {d};
  return shapes;
}

AttentionOf<Shape> attention_shapes(const ModelSpec& spec) {
  if (spec.latent) return latent_attention_shapes(spec, *spec.latent);
  AttentionOf<Shape> shapes;
  const std::int64_t d = spec.d_model;
  const std::int64_t q_rows = spec.heads * spec.head_dim, kv_rows = spec.kv_heads * spec.head_dim;
  shapes.q = {q_rows, d};
  shapes.k = shapes.v = {kv_rows, d};
  shapes.o = {d, q_rows};
  if (spec.qkv_bias) {
    shapes.q_bias = {q_rows};
    shapes.k_bias = shapes.v_bias = {kv_rows};
  }
  if (spec.o_bias) shapes.o_bias = {d};
  if (spec.qk_norm == QkNorm::head) shapes.q_norm = shapes.k_norm = {spec.head_dim};
  if (spec.qk_norm == QkNorm::all) {
    shapes.q_norm = {q_rows};
    shapes.k_norm = {kv_rows};
  }
  return shapes;
}

}  // namespace

WeightsOf<Shape> weight_shapes(const ModelSpec& spec) {
  auto shapes = make_weights<Shape>(spec);
  const std::int64_t d = spec.d_model;
  const auto norm = [&] {
    return NormOf<Shape>{{d}, spec.norm == NormKind::layer ? Shape{d} : Shape{}};
  };
  shapes.embed = {spec.vocab, spec.embed_dim};
  if (spec.embed_dim != d) {
    shapes.project_in = {d, spec.embed_dim};
    shapes.project_out = {spec.embed_dim, d};
  }
  if (spec.position == PositionKind::learned) {
    shapes.position = {spec.context + spec.position_offset, d};
  }
  if (!spec.tied) shapes.head = {spec.vocab, spec.embed_dim};
  if (spec.final_norm) shapes.norm = norm();

  for (std::size_t l = 0; l < spec.layers.size(); ++l) {
    LayerOf<Shape>& layer = shapes.layers[l];
    layer.attn_norm = norm();
    layer.ffn_norm = norm();
    layer.attn = attention_shapes(spec);
    if (const auto& moe = spec.layers[l].moe) {
      auto& m = std::get<1>(layer.ffn);
      m = moe_shapes(spec, *moe);
    } else {
      layer.ffn = ffn_shapes(spec, spec.layers[l].width, 0);
    }
  }
  return shapes;
}

bool is_buffer(std::string_view slot) {
  return slot.ends_with(".router.correction");
}

std::int64_t element_count(const Shape& shape) {
  if (shape.empty()) return 0;
  std::int64_t count = 1;
  for (const std::int64_t size : shape) count *= size;
  return count;
}

std::string to_string(const Shape& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

ModelCost model_cost(const ModelSpec& spec) {
  ModelCost cost;
  const auto shapes = weight_shapes(spec);
  for_each_weight(
      [&](const std::string& slot, const Shape& shape) {
        if (!is_buffer(slot)) cost.parameters += element_count(shape);
      },
      shapes);
  cost.active_parameters = cost.parameters;
  const auto matrices = [](const auto&... shape) { return (element_count(shape) + ...); };
  cost.flops_per_token =
      2 * (spec.vocab * spec.embed_dim + matrices(shapes.project_in, shapes.project_out));
  for (std::size_t l = 0; l < spec.layers.size(); ++l) {
    const LayerOf<Shape>& layer = shapes.layers[l];
    const AttentionOf<Shape>& a = layer.attn;
    std::int64_t multiplied =
        matrices(a.q, a.k, a.v, a.o, a.q_latent.a, a.q_latent.b, a.kv_latent.a, a.kv_latent.b);
    if (const MoeOf<Shape>* m = layer.moe()) {
      const MoeSpec& moe = *spec.layers[l].moe;
      const FfnOf<Shape>& e = m->experts;
      const std::int64_t experts = matrices(e.gate, e.up, e.down);
      const std::int64_t idle = moe.experts - moe.top_k;
      cost.active_parameters -=
          (experts + matrices(e.gate_bias, e.up_bias, e.down_bias)) / moe.experts * idle;
      multiplied += matrices(m->router.weight, m->router.up, m->shared.gate, m->shared.up,
                             m->shared.down, m->shared_gate) +
                    experts / moe.experts * moe.top_k;
    } else {
      const auto& ffn = std::get<0>(layer.ffn);
      multiplied += matrices(ffn.gate, ffn.up, ffn.down);
    }
    cost.flops_per_token += 2 * multiplied;
  }
  return cost;
}

}  // namespace moebius
