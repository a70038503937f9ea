// Small configurations of every family, as tests start from them.
#pragma once

#include <nlohmann/json.hpp>

#include "config/families.h"

namespace moebius::examples {

/// D 8, 4 heads, 2 key/value heads of 2, F 6, 2 layers, V 16. Every layer an MoE of 4 where the
/// family has experts.
inline Json llama_like(const std::string& model_type) {
  Json config{{"model_type", model_type},
              {"vocab_size", 16},
              {"hidden_size", 8},
              {"num_attention_heads", 4},
              {"num_key_value_heads", 2},
              {"intermediate_size", 6},
              {"num_hidden_layers", 2},
              {"max_position_embeddings", 32},
              {"tie_word_embeddings", false},
              {"rope_theta", 5000.0}};
  if (model_type == "mixtral" || model_type == "granitemoe") config["num_local_experts"] = 4;
  if (model_type.starts_with("qwen") || model_type == "olmoe") {
    config["head_dim"] = 2;
    config["num_experts"] = 4;
    config["moe_intermediate_size"] = 6;
    config["shared_expert_intermediate_size"] = 3;
  }
  config["num_experts_per_tok"] = 2;
  return config;
}

inline Json gpt2() {
  return {{"model_type", "gpt2"}, {"vocab_size", 16}, {"n_embd", 8},
          {"n_head", 4},          {"n_layer", 2},     {"n_positions", 32}};
}

inline Json opt() {
  return {{"model_type", "opt"},
          {"vocab_size", 16},
          {"hidden_size", 8},
          {"ffn_dim", 6},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 4},
          {"max_position_embeddings", 32}};
}

/// Heads of 4 + 2 for queries and keys, of 3 for values; 2 groups of 2 experts, of which one is
/// kept.
inline Json deepseek(const std::string& model_type) {
  Json config = llama_like(model_type);
  config.update({{"num_key_value_heads", 4},
                 {"q_lora_rank", 5},
                 {"kv_lora_rank", 7},
                 {"qk_nope_head_dim", 4},
                 {"qk_rope_head_dim", 2},
                 {"v_head_dim", 3},
                 {"n_routed_experts", 4},
                 {"n_shared_experts", 2},
                 {"moe_intermediate_size", 6},
                 {"topk_method", "group_limited_greedy"},
                 {"n_group", 2},
                 {"topk_group", 1},
                 {"first_k_dense_replace", 0}});
  return config;
}

inline Json config_of(const std::string& model_type) {
  if (model_type.starts_with("deepseek")) return deepseek(model_type);
  if (model_type == "gpt2") return gpt2();
  return model_type == "opt" ? opt() : llama_like(model_type);
}

/// Layer 1 becomes an MoE of 3 experts of width 5, top-2, with a shared FFN of width 4.
inline Json overlay_of(const std::string& family) {
  Json config = config_of(family);
  config["model_type"] = "moebius";
  config["moebius"] = {{"format", 1}, {"family", family}};
  config["moebius"]["layers"] = Json::array(
      {{{"layer", 1}, {"experts", 3}, {"top_k", 2}, {"width", 5}, {"shared_width", 4}}});
  return config;
}

inline ModelSpec spec_of(const Json& config) {
  return parse_model_spec(config, "config.json");
}

inline const std::vector<std::string> all_families{
    "llama",     "mistral",   "granite", "qwen2",       "qwen3",       "mixtral", "granitemoe",
    "qwen2_moe", "qwen3_moe", "olmoe",   "deepseek_v2", "deepseek_v3", "gpt2",    "opt"};

}  // namespace moebius::examples
