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

/// Everything whose default differs between the classes is written out, rope_theta in both
/// spellings: Mixtral's default is 1e6, Llama's 1e4.
Json mixtral_config(const Json& source, const ModelSpec& spec) {
  Json config = source;
  for (const char* key : {"attention_bias", "mlp_bias", "pretraining_tp", "rope_scaling"}) {
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
  config["rope_theta"] = spec.rope_theta;
  config["rope_parameters"] = {{"rope_theta", spec.rope_theta}, {"rope_type", "default"}};
  if (!config.contains("sliding_window")) config["sliding_window"] = nullptr;
  if (!config.contains("hidden_act")) config["hidden_act"] = "silu";
  config["tie_word_embeddings"] = spec.tied;
  config["output_router_logits"] = false;
  config["router_aux_loss_coef"] = 0.01;
  return config;
}

Json overlay_config(const Json& source, const ModelSpec& spec) {
  Json config = source;
  // Versions 4 of transformers read this spelling alone.
  if (spec.position == PositionKind::rope) config["rope_theta"] = spec.rope_theta;
  config["architectures"] = {"MoebiusForCausalLM"};
  config["model_type"] = "moebius";
  config["auto_map"] = {{"AutoConfig", "modeling_moebius.MoebiusConfig"},
                        {"AutoModelForCausalLM", "modeling_moebius.MoebiusForCausalLM"}};
  Json overlay{{"format", 1}, {"family", spec.family}, {"balance_coefficient", 0.01}};
  overlay["layers"] = Json::array();
  for (std::size_t l = 0; l < spec.layers.size(); ++l) {
    if (!spec.layers[l].moe) continue;
    const MoeSpec& moe = *spec.layers[l].moe;
    overlay["layers"].push_back({{"layer", l},
                                 {"experts", moe.experts},
                                 {"top_k", moe.top_k},
                                 {"width", moe.width},
                                 {"router_scores", name_of(moe.scores)},
                                 {"router_weights", name_of(moe.weights)},
                                 {"router_groups", moe.groups},
                                 {"shared_width", moe.shared_width}});
  }
  config["moebius"] = overlay;
  return config;
}

}  // namespace

void describe_output(const Source& source, ModelSpec& spec, OutputPlan& plan) {
  const Json config = parse_json_file(source.directory / "config.json");
  bool converted = false;
  for (const LayerSpec& layer : spec.layers) converted = converted || layer.moe.has_value();
  if (!converted) {
    plan.config = config.dump(2) + "\n";
  } else if (fits_mixtral(spec)) {
    spec.family = "mixtral";
    plan.config = mixtral_config(config, spec).dump(2) + "\n";
  } else {
    spec.overlay = true;
    plan.config = overlay_config(config, spec).dump(2) + "\n";
    plan.modeling = modeling_code(family_of(spec.family, source.directory.string()));
  }
}

}  // namespace moebius
