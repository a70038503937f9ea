// How the output presents itself to transformers: as a class that it has, where one fits exactly,
// else as the source's own class with MoE layers laid over it by a small modelling file.
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "checkpoint/modeling.h"
#include "convert/output_plan.h"

namespace moebius {
namespace {

/// Mixtral is Llama's or Mistral's skeleton without biases, every layer the same MoE with weights
/// renormalised over the chosen experts.
bool fits_mixtral(const ModelSpec& spec) {
  if (spec.family != "llama" && spec.family != "mistral") return false;
  if (spec.overlay || spec.qkv_bias || spec.o_bias || spec.mlp_bias) return false;
  for (const LayerSpec& layer : spec.layers) {
    if (!layer.moe || layer.moe->weights != RouterWeights::softmax_renorm ||
        layer.moe->groups != layer.moe->experts || layer.moe->shared_width > 0) {
      return false;
    }
  }
  return true;
}

/// Rotary positions as transformers 5 writes them; what a kind does not know is left out.
Json rope_parameters(const RopeSpec& rope) {
  Json json{{"rope_theta", rope.theta}};
  switch (rope.scaling) {
    case RopeScaling::none:
      json["rope_type"] = "default";
      return json;
    case RopeScaling::linear:
      json["rope_type"] = "linear";
      break;
    case RopeScaling::dynamic:
      json["rope_type"] = "dynamic";
      break;
    case RopeScaling::llama3:
      json["rope_type"] = "llama3";
      json["original_max_position_embeddings"] = rope.original_context;
      json["low_freq_factor"] = rope.low_freq_factor;
      json["high_freq_factor"] = rope.high_freq_factor;
      break;
    case RopeScaling::yarn:
      json["rope_type"] = "yarn";
      json["original_max_position_embeddings"] = rope.original_context;
      json["beta_fast"] = rope.beta_fast;
      json["beta_slow"] = rope.beta_slow;
      json["truncate"] = rope.truncate;
      json["attention_factor"] = rope.attention_factor;
      break;
  }
  json["factor"] = rope.factor;
  return json;
}

/// In the spelling of transformers 5, and in that of versions 4, which know no other.
void write_rope(const RopeSpec& rope, Json& config) {
  config["rope_parameters"] = rope_parameters(rope);
  config["rope_theta"] = rope.theta;
  config["rope_scaling"] = nullptr;
  if (rope.scaling == RopeScaling::none) return;
  config["rope_scaling"] = config["rope_parameters"];
  config["rope_scaling"].erase("rope_theta");
}

/// Everything whose default differs between the classes is written out: Mixtral's default is 1e6,
/// Llama's 1e4.
Json mixtral_config(const Json& source, const ModelSpec& spec) {
  Json config = source;
  for (const char* key : {"attention_bias", "mlp_bias", "pretraining_tp"}) {
    config.erase(key);
  }
  const MoeSpec& moe = *spec.layers[0].moe;
  config["architectures"] = {"MixtralForCausalLM"};
  config["model_type"] = "mixtral";
  config["num_local_experts"] = moe.experts;
  config["num_experts_per_tok"] = moe.top_k;
  config["num_key_value_heads"] = spec.kv_heads;
  config["head_dim"] = spec.head_dim;
  config["max_position_embeddings"] = source.value("max_position_embeddings", spec.context);
  config["rms_norm_eps"] = spec.norm_eps;
  write_rope(spec.rope, config);
  config["sliding_window"] = nullptr;
  if (const std::int64_t window = spec.layers[0].window) config["sliding_window"] = window;
  if (!config.contains("hidden_act")) config["hidden_act"] = "silu";
  config["tie_word_embeddings"] = spec.tied;
  config["output_router_logits"] = false;
  config["router_aux_loss_coef"] = 0.01;
  return config;
}

Json overlay_config(const Json& source, const ModelSpec& spec) {
  Json config = source;
  if (spec.position == PositionKind::rope) write_rope(spec.rope, config);
  config["architectures"] = {"MoebiusForCausalLM"};
  config["model_type"] = "moebius";
  config["auto_map"] = {{"AutoConfig", "modeling_moebius.MoebiusConfig"},
                        {"AutoModelForCausalLM", "modeling_moebius.MoebiusForCausalLM"}};
  Json overlay{{"format", 1}, {"family", spec.family}, {"balance_coefficient", 0.01}};
  overlay["layers"] = Json::array();
  for (std::size_t l = 0; l < spec.layers.size(); ++l) {
    if (!spec.layers[l].overlay) continue;
    const MoeSpec& moe = *spec.layers[l].moe;
    overlay["layers"].push_back({{"layer", l},
                                 {"experts", moe.experts},
                                 {"top_k", moe.top_k},
                                 {"width", moe.width},
                                 {"router_scores", name_of(moe.scores)},
                                 {"router_weights", name_of(moe.weights)},
                                 {"router_groups", moe.groups},
                                 {"shared_width", moe.shared_width},
                                 {"shared_gate", moe.shared_gate}});
  }
  config["moebius"] = overlay;
  return config;
}

}  // namespace

void describe_output(const Source& source, ModelSpec& spec, OutputPlan& plan) {
  const Json config = parse_json_file(source.directory / "config.json");
  bool converted = false;
  for (const LayerSpec& layer : spec.layers) converted = converted || layer.overlay;
  if (!converted) {
    plan.config = config.dump(2) + "\n";
  } else if (fits_mixtral(spec)) {
    spec.family = "mixtral";
    for (LayerSpec& layer : spec.layers) layer.overlay = false;
    plan.config = mixtral_config(config, spec).dump(2) + "\n";
  } else {
    spec.overlay = true;
    plan.config = overlay_config(config, spec).dump(2) + "\n";
    plan.modeling = modeling_code(family_of(spec.family, source.directory.string()));
  }
}

}  // namespace moebius
