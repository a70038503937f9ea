#include "bench/cost.h"

#include <ATen/ATen.h>

#include "config/weights.h"
#include "ops/weight.h"

namespace moebius {
namespace {

/// Of a leaf with one matrix, or one an expert.
struct LeafCost {
  double matrices = 1, values = 0, bytes = 0;  ///< of one matrix
};

LeafCost cost_of(const Weight& w) {
  if (const PackedWeight* packed = w.packed()) {
    const auto count = static_cast<double>(packed->count());
    return {count, static_cast<double>(packed->shape().n * packed->shape().k),
            static_cast<double>(packed->bytes()) / count};
  }
  const at::Tensor& t = w;
  const auto count = static_cast<double>(t.dim() == 3 ? t.size(0) : 1);
  return {count, static_cast<double>(t.numel()) / count, static_cast<double>(t.nbytes()) / count};
}

/// Values of queries, keys, values that attention multiplies for one token and one seen.
double attention_width(const ModelSpec& spec) {
  const auto heads = static_cast<double>(spec.heads);
  if (!spec.latent) return heads * 2 * static_cast<double>(spec.head_dim);
  return heads * static_cast<double>(2 * spec.latent->kv_rank + spec.latent->rope_dim);
}

}  // namespace

PassCost cost_of_pass(InferenceModel& model, std::int64_t sequences, std::int64_t past,
                      std::int64_t count, double visits) {
  const ModelSpec& spec = model.spec();
  const auto tokens = static_cast<double>(sequences * count);
  double moe_layers = 0;
  for (const LayerSpec& layer : spec.layers) moe_layers += layer.moe ? 1 : 0;
  PassCost cost;
  for_each_weight(
      [&](const std::string& slot, const Weight& w) {
        if (!w.defined() || slot == "embed.weight" || slot == "position.weight") return;
        if (slot.find(".experts.") != std::string::npos) return;  // below
        const LeafCost leaf = cost_of(w);
        cost.bytes += leaf.bytes * leaf.matrices;
        if (!slot.ends_with(".weight") || slot.find("norm") != std::string::npos) return;
        const bool head = slot == "head.weight" || slot == "project_out.weight";
        cost.flops += 2 * leaf.values * (head ? static_cast<double>(sequences) : tokens);
      },
      model.weights());
  for (std::size_t l = 0; l < spec.layers.size(); ++l) {
    const MoeOf<Weight>* moe = model.weights().layers[l].moe();
    if (moe == nullptr) continue;
    const FfnOf<Weight>& w = moe->experts;
    const auto chosen = static_cast<double>(spec.layers[l].moe->top_k);
    const double visited = visits / moe_layers;
    for (const Weight* matrix : {&w.gate, &w.up, &w.down}) {
      if (!matrix->defined()) continue;
      const LeafCost leaf = cost_of(*matrix);
      cost.flops += 2 * leaf.values * chosen * tokens;
      cost.bytes += leaf.bytes * visited;
    }
    for (const Weight* bias : {&w.gate_bias, &w.up_bias, &w.down_bias}) {  // [E, N]
      if (bias->defined()) cost.bytes += static_cast<double>(bias->plain()[0].nbytes()) * visited;
    }
  }
  for (const LayerSpec& layer : spec.layers) {
    double seen = 0;  // tokens that the new ones of a sequence look at
    for (std::int64_t t = past; t < past + count; ++t) {
      seen += static_cast<double>(layer.window > 0 ? std::min(layer.window, t + 1) : t + 1);
    }
    cost.flops += 2 * attention_width(spec) * seen * static_cast<double>(sequences);
  }
  constexpr std::int64_t many = 1024;
  const double token_bytes = static_cast<double>(model.cache_bytes(many)) / many;
  cost.bytes += token_bytes * static_cast<double>(sequences * (past + count));
  return cost;
}

}  // namespace moebius
