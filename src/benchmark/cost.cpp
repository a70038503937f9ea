#include "benchmark/cost.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "config/weights.h"
#include "ops/weight.h"

namespace moebius {
namespace {

/// Size of a weight that is one matrix, or one per expert.
struct LeafCost {
  double matrices = 1;
  double values = 0, bytes = 0;  ///< of one matrix
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

/// Bytes of one expert's part of a weight [E, ...].
double bytes_of_expert(const Weight& w) {
  return w.packed() != nullptr ? cost_of(w).bytes : static_cast<double>(w.plain()[0].nbytes());
}

/// Products of attention for one query and one cached token.
double attention_width(const ModelSpec& spec) {
  const auto heads = static_cast<double>(spec.heads);
  if (!spec.latent) return heads * 2 * static_cast<double>(spec.head_dim);
  return heads * static_cast<double>(2 * spec.latent->kv_rank + spec.latent->rope_dim);
}

bool is_matrix(const std::string& slot) {
  return slot.ends_with(".weight") && slot.find("norm") == std::string::npos;
}
/// Whether a weight is only looked up: a tied embedding is multiplied with as well.
bool is_table(const std::string& slot, const Weights& weights) {
  return slot == "position.weight" || (slot == "embed.weight" && weights.head.defined());
}
bool is_of_experts(const std::string& slot) {
  return slot.find(".experts.") != std::string::npos;
}

}  // namespace

double flops_of_pass(const ModelSpec& spec, const Weights& weights, std::int64_t sequences,
                     std::int64_t past, std::int64_t count, std::int64_t scored) {
  const auto tokens = static_cast<double>(sequences * count);
  double flops = 0;
  for_each_weight(
      [&](const std::string& slot, const Weight& w) {
        if (!w.defined() || is_table(slot, weights) || is_of_experts(slot) || !is_matrix(slot)) {
          return;
        }
        const bool head =
            slot == "head.weight" || slot == "embed.weight" || slot == "project_out.weight";
        flops += 2 * cost_of(w).values * (head ? static_cast<double>(scored) : tokens);
      },
      weights);
  for (std::size_t l = 0; l < spec.layers.size(); ++l) {
    const LayerSpec& layer = spec.layers[l];
    if (const MoeOf<Weight>* moe = weights.layers[l].moe()) {
      const auto chosen = static_cast<double>(layer.moe->top_k);
      for (const Weight* matrix : {&moe->experts.gate, &moe->experts.up, &moe->experts.down}) {
        if (matrix->defined()) flops += 2 * cost_of(*matrix).values * chosen * tokens;
      }
    }
    double seen = 0;  // pairs of a new token and one that it attends to
    for (std::int64_t t = past; t < past + count; ++t) {
      seen += static_cast<double>(layer.window > 0 ? std::min(layer.window, t + 1) : t + 1);
    }
    flops += 2 * attention_width(spec) * seen * static_cast<double>(sequences);
  }
  return flops;
}

PassCost cost_of_pass(InferenceModel& model, std::int64_t sequences, std::int64_t past,
                      std::int64_t count, double visits) {
  const ModelSpec& spec = model.spec();
  const Weights& weights = model.weights();
  PassCost cost{flops_of_pass(spec, weights, sequences, past, count, sequences), 0};
  for_each_weight(
      [&](const std::string& slot, const Weight& w) {
        if (!w.defined() || is_table(slot, weights) || is_of_experts(slot)) return;
        const LeafCost leaf = cost_of(w);
        cost.bytes += leaf.bytes * leaf.matrices;
      },
      weights);
  const auto moe_layers = static_cast<double>(
      std::count_if(spec.layers.begin(), spec.layers.end(),
                    [](const LayerSpec& layer) { return layer.moe.has_value(); }));
  for (const LayerWeights& layer : weights.layers) {
    const MoeOf<Weight>* moe = layer.moe();
    if (moe == nullptr) continue;
    const FfnOf<Weight>& w = moe->experts;
    for (const Weight* leaf : {&w.gate, &w.up, &w.down, &w.gate_bias, &w.up_bias, &w.down_bias}) {
      if (leaf->defined()) cost.bytes += bytes_of_expert(*leaf) * visits / moe_layers;
    }
  }
  constexpr std::int64_t many = 1024;
  const double token_bytes = static_cast<double>(model.cache_bytes(many)) / many;
  cost.bytes += token_bytes * static_cast<double>(sequences * (past + count));
  return cost;
}

}  // namespace moebius
