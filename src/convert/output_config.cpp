// config.json of the output: that of a class of transformers if one fits exactly, else that of the
// source's class with MoE layers that modeling_moebius.py puts in.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "checkpoint/modeling.h"
#include "convert/output_plan.h"

namespace moebius {
namespace {

/// Rotary positions as transformers 5 writes them; keys that a kind lacks are omitted.
Json rope_parameters(const RopeSpec& rope) {
  Json json{{"rope_theta", rope.theta}, {"rope_type", name_of(rope.scaling)}};
  if (rope.scaling == RopeScaling::none) return json;
  json["factor"] = rope.factor;
  if (rope.mscale_all_dim != 0) json["mscale_all_dim"] = rope.mscale_all_dim;
  if (rope.scaling == RopeScaling::llama3 || rope.scaling == RopeScaling::yarn) {
    json["original_max_position_embeddings"] = rope.original_context;
  }
  if (rope.scaling == RopeScaling::llama3) {
    json["low_freq_factor"] = rope.low_freq_factor;
    json["high_freq_factor"] = rope.high_freq_factor;
  } else if (rope.scaling == RopeScaling::yarn) {
    json["beta_fast"] = rope.beta_fast;
    json["beta_slow"] = rope.beta_slow;
    json["truncate"] = rope.truncate;
    json["attention_factor"] = rope.attention_factor;
  }
  return json;
}

/// In the format of transformers 5, and in that of versions 4.
void write_rope(const RopeSpec& rope, Json& config) {
  config["rope_parameters"] = rope_parameters(rope);
  config["rope_theta"] = rope.theta;
  config["rope_scaling"] = nullptr;
  if (rope.scaling == RopeScaling::none) return;
  config["rope_scaling"] = config["rope_parameters"];
  config["rope_scaling"].erase("rope_theta");
}

/// Keys of an MoE layer's sizes in a class of transformers.
struct ExpertKeys {
  const char *count, *width;
};

/// A class of transformers that a converted dense family fits exactly, every converted layer being
/// the same: weights renormalised over the chosen experts, no groups.
struct NativeClass {
  const char *from, *to, *architecture;
  bool every_layer;  ///< has no dense layers; else `mlp_only_layers` lists them
  bool one_window;   ///< the same window in every layer
  bool shared;       ///< has one shared expert, multiplied by a gate
  bool (*fits)(const ModelSpec& spec);
  ExpertKeys keys;
};

bool no_biases(const ModelSpec& spec) {
  return !spec.qkv_bias && !spec.o_bias && !spec.mlp_bias;
}
bool no_mlp_bias(const ModelSpec& spec) {
  return !spec.mlp_bias;
}

constexpr ExpertKeys mixtral_keys{"num_local_experts", "intermediate_size"};
constexpr ExpertKeys qwen_keys{"num_experts", "moe_intermediate_size"};
constexpr ExpertKeys deepseek_keys{"n_routed_experts", "moe_intermediate_size"};
constexpr NativeClass native_classes[] = {
    {"llama", "mixtral", "MixtralForCausalLM", true, true, false, no_biases, mixtral_keys},
    {"mistral", "mixtral", "MixtralForCausalLM", true, true, false, no_biases, mixtral_keys},
    {"granite", "granitemoe", "GraniteMoeForCausalLM", true, true, false, no_mlp_bias,
     mixtral_keys},
    {"qwen3", "qwen3_moe", "Qwen3MoeForCausalLM", false, true, false, no_mlp_bias, qwen_keys},
    {"qwen2", "qwen2_moe", "Qwen2MoeForCausalLM", false, false, true, no_mlp_bias, qwen_keys},
};

const NativeClass* native_class_of(const ModelSpec& spec) {
  for (const NativeClass& row : native_classes) {
    if (spec.family == row.from) return &row;
  }
  return nullptr;
}

/// The first converted layer's; null where there is none.
const MoeSpec* first_moe(const ModelSpec& spec) {
  for (const LayerSpec& layer : spec.layers) {
    if (layer.moe) return &*layer.moe;
  }
  return nullptr;
}

bool fits(const NativeClass& row, const ModelSpec& spec) {
  if (spec.overlay || !row.fits(spec)) return false;
  const MoeSpec& first = *first_moe(spec);
  if ((first.shared_width > 0) != row.shared) return false;
  const MoeSpec known{.experts = first.experts,
                      .top_k = first.top_k,
                      .width = first.width,
                      .groups = first.experts,
                      .shared_width = first.shared_width,
                      .shared_gate = row.shared};
  return std::all_of(spec.layers.begin(), spec.layers.end(), [&](const LayerSpec& layer) {
    if (row.one_window && layer.window != spec.layers[0].window) return false;
    return layer.moe ? *layer.moe == known : !row.every_layer;
  });
}

/// Windows as the class reads them.
void write_windows(const NativeClass& row, const ModelSpec& spec, Json& config) {
  std::int64_t window = 0;
  Json types = Json::array();
  for (const LayerSpec& layer : spec.layers) {
    window = std::max(window, layer.window);
    types.push_back(layer.window > 0 ? "sliding_attention" : "full_attention");
  }
  config["sliding_window"] = window > 0 ? Json(window) : Json();
  if (row.every_layer) return;
  config["use_sliding_window"] = window > 0;
  if (!row.one_window) config["layer_types"] = std::move(types);
}

/// Keys whose defaults differ between the classes are always written: Mixtral's rope_theta is 1e6,
/// Llama's 1e4; Qwen3's norm_topk_prob is false.
Json native_config(const NativeClass& row, const Json& source, const ModelSpec& spec) {
  Json config = source;
  for (const char* key : {"mlp_bias", "pretraining_tp", "layer_types", "max_window_layers"}) {
    config.erase(key);
  }
  const MoeSpec& moe = *first_moe(spec);
  config["architectures"] = {row.architecture};
  config["model_type"] = row.to;
  config[row.keys.count] = moe.experts;
  config[row.keys.width] = moe.width;
  config["num_experts_per_tok"] = moe.top_k;
  config["num_key_value_heads"] = spec.kv_heads;
  config["head_dim"] = spec.head_dim;
  config["max_position_embeddings"] = source.value("max_position_embeddings", stated_context(spec));
  config["rms_norm_eps"] = spec.norm_eps;
  write_rope(spec.rope, config);
  write_windows(row, spec, config);
  if (!config.contains("hidden_act")) config["hidden_act"] = "silu";
  config["tie_word_embeddings"] = spec.tied;
  config["output_router_logits"] = false;
  config["router_aux_loss_coef"] = 0.01;
  if (row.every_layer) return config;
  config["norm_topk_prob"] = true;
  config["decoder_sparse_step"] = 1;
  config["mlp_only_layers"] = Json::array();
  for (std::size_t l = 0; l < spec.layers.size(); ++l) {
    if (!spec.layers[l].moe) config["mlp_only_layers"].push_back(l);
  }
  if (row.shared) config["shared_expert_intermediate_size"] = moe.shared_width;
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
                                 {"shared_gate", moe.shared_gate},
                                 {"router_bias", moe.router_bias},
                                 {"bias_once", moe.bias_once}});
  }
  config["moebius"] = overlay;
  return config;
}

/// A family of mixtures has one number of experts for all its layers.
void write_expert_count(const ModelSpec& spec, const MoeSpec& moe, Json& config) {
  for (const LayerSpec& layer : spec.layers) {
    if (!layer.moe || layer.moe->experts == moe.experts) continue;
    throw Error(fmt::format("a {} has as many experts in every layer, not {} here and {} there",
                            spec.family, moe.experts, layer.moe->experts),
                "convert all its layers alike");
  }
  for (const ExpertKeys& keys : {mixtral_keys, qwen_keys, deepseek_keys}) {
    if (config.contains(keys.count)) config[keys.count] = moe.experts;
  }
}

}  // namespace

bool shares_by_gate(const ModelSpec& spec) {
  const NativeClass* row = native_class_of(spec);
  return row != nullptr && row->shared;
}

void describe_output(const Source& source, ModelSpec& spec, OutputPlan& plan) {
  Json config = carried_config(parse_json_file(source.directory / "config.json"), spec);
  if (spec.dtype != source.spec.dtype) {
    const bool old = config.contains("torch_dtype") && !config.contains("dtype");
    if (!old) config.erase("torch_dtype");
    config[old ? "torch_dtype" : "dtype"] = config_name(spec.dtype);
  }
  const NativeClass* row = native_class_of(spec);
  if (std::none_of(spec.layers.begin(), spec.layers.end(),
                   [](const LayerSpec& layer) { return layer.overlay; })) {
    if (const MoeSpec* moe = first_moe(spec)) write_expert_count(spec, *moe, config);
    plan.config = config.dump(2) + "\n";
  } else if (row != nullptr && fits(*row, spec)) {
    plan.config = native_config(*row, config, spec).dump(2) + "\n";
    spec.family = row->to;
    for (LayerSpec& layer : spec.layers) layer.overlay = false;
  } else {
    spec.overlay = true;
    plan.config = overlay_config(config, spec).dump(2) + "\n";
    plan.modeling = modeling_code(family_of(spec.family, source.directory.string()));
  }
}

}  // namespace moebius
