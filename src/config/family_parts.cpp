#include "config/family_parts.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace moebius {

std::vector<NameRule> join(std::initializer_list<std::span<const NameRule>> parts) {
  std::vector<NameRule> rules;
  for (const auto part : parts) rules.insert(rules.end(), part.begin(), part.end());
  return rules;
}

Activation activation_from(const JsonView& config, std::string_view key,
                           std::string_view fallback) {
  const std::string name = config.string_or(key, fallback);
  if (name == "silu" || name == "swish") return Activation::silu;
  if (name == "gelu_new" || name == "gelu_pytorch_tanh" || name == "gelu_fast") {
    return Activation::gelu_tanh;
  }
  if (name == "gelu") return Activation::gelu_erf;
  if (name == "relu") return Activation::relu;
  config.fail_key(key, fmt::format("is {}, an activation that is not known", name));
}

void read_llama_frame(const JsonView& c, ModelSpec& spec, const LlamaDefaults& defaults) {
  spec.vocab = c.integer("vocab_size", 1, max_size);
  spec.d_model = c.integer("hidden_size", 1, max_size);
  spec.context = c.integer_or("max_position_embeddings", defaults.context, 1, max_size);
  LayerSpec layer;
  layer.width = c.integer("intermediate_size", 1, max_size);
  spec.layers.assign(static_cast<std::size_t>(c.integer("num_hidden_layers", 1, max_layers)),
                     layer);
  spec.norm = NormKind::rms;
  spec.norm_eps = c.number_or("rms_norm_eps", defaults.norm_eps);
  spec.activation = activation_from(c, "hidden_act", "silu");
  spec.gated = true;
  spec.tied = c.boolean_or("tie_word_embeddings", false);
}

void read_llama_skeleton(const JsonView& c, ModelSpec& spec, const LlamaDefaults& defaults) {
  read_llama_frame(c, spec, defaults);
  spec.heads = c.integer("num_attention_heads", 1, max_size);
  spec.kv_heads = c.integer_or("num_key_value_heads",
                               defaults.kv_heads ? defaults.kv_heads : spec.heads, 1, max_size);
  if (spec.heads % spec.kv_heads != 0) {
    c.fail_key("num_key_value_heads",
               fmt::format("is {}, which does not divide {} heads", spec.kv_heads, spec.heads));
  }
  if (!c.has("head_dim") && defaults.head_dim == 0 && spec.d_model % spec.heads != 0) {
    c.fail_key("num_attention_heads", fmt::format("is {}, which does not divide hidden_size {}",
                                                  spec.heads, spec.d_model));
  }
  spec.head_dim = c.integer_or(
      "head_dim", defaults.head_dim ? defaults.head_dim : spec.d_model / spec.heads, 1, max_size);
  if (spec.head_dim % 2 != 0) c.fail_key("head_dim", "is odd: rotary positions need pairs");
  read_rope(c, spec, defaults.rope_theta);
  spec.attention_scale = 1.0 / std::sqrt(static_cast<double>(spec.head_dim));
}

void read_granite_factors(const JsonView& c, ModelSpec& spec) {
  spec.embedding_multiplier = c.number_or("embedding_multiplier", 1.0);
  spec.attention_scale = c.number_or("attention_multiplier", 1.0);
  spec.residual_multiplier = c.number_or("residual_multiplier", 1.0);
  spec.logits_divisor = c.number_or("logits_scaling", 1.0);
  if (spec.logits_divisor == 0) c.fail_key("logits_scaling", "is zero");
}

void read_windows(const JsonView& c, ModelSpec& spec, std::int64_t window,
                  bool (*sliding)(const JsonView& config, std::int64_t layer)) {
  const auto types = c.strings("layer_types");
  if (!types.empty() && types.size() != spec.layers.size()) {
    c.fail_key("layer_types",
               fmt::format("has {} entries for {} layers", types.size(), spec.layers.size()));
  }
  for (std::size_t l = 0; l < spec.layers.size(); ++l) {
    if (!types.empty() && types[l] != "sliding_attention" && types[l] != "full_attention") {
      c.fail_key("layer_types", fmt::format("names {}, which is not supported", types[l]));
    }
    const bool slides =
        types.empty() ? sliding(c, static_cast<std::int64_t>(l)) : types[l] == "sliding_attention";
    if (slides) spec.layers[l].window = window;
  }
}

MoeSpec read_moe(const JsonView& c, const MoeKeys& keys) {
  MoeSpec moe;
  moe.experts = moe.groups = c.integer(keys.experts, 1, max_experts);
  moe.top_k = c.integer("num_experts_per_tok", 1, max_experts);
  moe.width = c.integer(keys.width, 1, max_size);
  if (keys.norm_topk_prob && !c.boolean_or("norm_topk_prob", false)) {
    moe.weights = RouterWeights::softmax;
  }
  check_moe(moe, c.where());
  return moe;
}

void place_moe(const JsonView& c, ModelSpec& spec, const MoeSpec& moe, double balance) {
  spec.balance_coefficient = c.number_or("router_aux_loss_coef", balance);
  const std::int64_t step = c.integer_or("decoder_sparse_step", 1, 1, max_size);
  auto dense = c.integers("mlp_only_layers");
  std::sort(dense.begin(), dense.end());
  for (std::size_t l = 0; l < spec.layers.size(); ++l) {
    const auto layer = static_cast<std::int64_t>(l);
    const bool listed = std::binary_search(dense.begin(), dense.end(), layer);
    if (!listed && (layer + 1) % step == 0) spec.layers[l].moe = moe;
  }
}

}  // namespace moebius
