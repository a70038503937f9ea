#include "checkpoint/gguf_model.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <numbers>

#include "base/error.h"
#include "config/family_parts.h"

namespace moebius {
namespace {

/// A family that llama.cpp computes, and what its graph assumes of it.
struct Row {
  std::string_view model_type, architecture;
  bool interleaved = false;              ///< queries and keys are rotated in neighbouring pairs
  bool square = false;                   ///< heads x head_dim must be the model's width
  bool own_head = false;                 ///< the head is stored even where it is tied
  bool output_bias = false;              ///< attention's output may have a bias, FFNs too
  std::optional<RouterWeights> experts;  ///< weighting; empty for a dense family
};
constexpr auto renorm = RouterWeights::softmax_renorm, kept = RouterWeights::softmax;
constexpr Row rows[] = {
    {"llama", "llama", true, false, false, true, {}},
    {"mistral", "llama", true, false, false, true, {}},
    {"mixtral", "llama", true, false, false, true, renorm},
    {"granite", "granite", true, false, false, true, {}},
    {"granitemoe", "granitemoe", true, false, false, true, renorm},
    {"qwen2", "qwen2", false, true, false, false, {}},
    {"qwen3", "qwen3", false, false, false, false, {}},
    {"qwen2_moe", "qwen2moe", false, true, true, false, kept},
    {"qwen3_moe", "qwen3moe", false, false, false, false, renorm},
    {"olmoe", "olmoe", false, true, true, false, kept},
};

const Row* find_row(std::string_view model_type) {
  const auto at = std::find_if(std::begin(rows), std::end(rows),
                               [&](const Row& row) { return row.model_type == model_type; });
  return at == std::end(rows) ? nullptr : at;
}

const Row& row_of(const ModelSpec& spec) {
  return *find_row(spec.family);
}

/// Slots and names of tensors; the endings (".weight", ".bias") are the same in both.
constexpr std::pair<std::string_view, std::string_view> names[] = {
    {"embed", "token_embd"},
    {"norm", "output_norm"},
    {"head", "output"},
    {"attn_norm", "attn_norm"},
    {"ffn_norm", "ffn_norm"},
    {"attn.q", "attn_q"},
    {"attn.k", "attn_k"},
    {"attn.v", "attn_v"},
    {"attn.o", "attn_output"},
    {"attn.q_norm", "attn_q_norm"},
    {"attn.k_norm", "attn_k_norm"},
    {"ffn.gate", "ffn_gate"},
    {"ffn.up", "ffn_up"},
    {"ffn.down", "ffn_down"},
    {"moe.router", "ffn_gate_inp"},
    {"moe.experts.gate", "ffn_gate_exps"},
    {"moe.experts.up", "ffn_up_exps"},
    {"moe.experts.down", "ffn_down_exps"},
    {"moe.shared_gate", "ffn_gate_inp_shexp"},
    {"moe.shared.gate", "ffn_gate_shexp"},
    {"moe.shared.up", "ffn_up_shexp"},
    {"moe.shared.down", "ffn_down_shexp"},
};

bool is_granite(const ModelSpec& spec) {
  return spec.family.starts_with("granite");
}

/// The keys of experts.
void add_moe(const ModelSpec& spec, const MoeSpec& moe, const std::string& prefix,
             GgufMetadata& out) {
  out[prefix + "expert_count"] = moe.experts;
  out[prefix + "expert_used_count"] = moe.top_k;
  const bool apart = spec.family.starts_with("qwen");  // else feed_forward_length is theirs
  out[prefix + (apart ? "expert_feed_forward_length" : "feed_forward_length")] = moe.width;
  if (moe.shared_width > 0) out[prefix + "expert_shared_feed_forward_length"] = moe.shared_width;
}

void add_rope(const ModelSpec& spec, const std::string& prefix, GgufMetadata& out) {
  const RopeSpec& rope = spec.rope;
  out[prefix + "rope.dimension_count"] = spec.head_dim;
  out[prefix + "rope.freq_base"] = rope.theta;
  const auto scaled = [&](std::string type) {
    out[prefix + "rope.scaling.type"] = std::move(type);
    out[prefix + "rope.scaling.factor"] = rope.factor;
  };
  if (rope.scaling == RopeScaling::linear) {
    scaled("linear");
  } else if (rope.scaling == RopeScaling::llama3) {
    // llama.cpp reads the factors from a tensor. These keys hold the parameters they came from.
    out["moebius.rope.factor"] = rope.factor;
    out["moebius.rope.low_freq_factor"] = rope.low_freq_factor;
    out["moebius.rope.high_freq_factor"] = rope.high_freq_factor;
    out["moebius.rope.original_context"] = rope.original_context;
  } else if (rope.scaling == RopeScaling::yarn) {
    scaled("yarn");
    out[prefix + "rope.scaling.original_context_length"] = rope.original_context;
    out[prefix + "rope.scaling.yarn_beta_fast"] = rope.beta_fast;
    out[prefix + "rope.scaling.yarn_beta_slow"] = rope.beta_slow;
    // llama.cpp itself multiplies by 1 + 0.1 ln(factor).
    const double own = rope.attention_factor / attention_mscale(rope.factor, 1);
    if (std::abs(own - 1) > 1e-9) out[prefix + "rope.scaling.attn_factor"] = own;
  }
}

// ---- Reading ---------------------------------------------------------------------------------

/// The parameters of the stored factors: those in `moebius.rope.*`, else Llama 3's, which nearly
/// all other files have. Throws Error if the factors do not follow from them.
Json llama3_of(const GgufHeader& header, std::span<const std::byte> bytes, double theta,
               std::int64_t head_dim) {
  const GgufTensor& tensor = *header.find(gguf_rope_factors);
  const auto count = static_cast<std::size_t>(head_dim / 2);
  if (tensor.type != GgufType::f32 || tensor.bytes != count * sizeof(float)) {
    fail("{}: tensor {} is not {} numbers of f32", header.where, tensor.name, count);
  }
  std::vector<float> found(count);
  std::memcpy(found.data(), bytes.data() + tensor.offset, tensor.bytes);
  const double largest = *std::max_element(found.begin(), found.end());
  RopeSpec rope;
  rope.theta = theta;
  rope.scaling = RopeScaling::llama3;
  rope.factor = header.number_or("moebius.rope.factor", std::round(largest));
  rope.low_freq_factor = header.number_or("moebius.rope.low_freq_factor", 1);
  rope.high_freq_factor = header.number_or("moebius.rope.high_freq_factor", 4);
  rope.original_context = header.integer_or("moebius.rope.original_context", 8192, 1, max_size);
  const std::vector<float> made = llama3_factors(rope, head_dim);
  for (std::size_t i = 0; i < count; ++i) {
    if (!(std::abs(made[i] - found[i]) <= 1e-4 * std::abs(made[i]))) {
      throw Error(
          fmt::format("{}: the factors in {} are not those of Llama 3", header.where, tensor.name),
          "moebius reads no others");
    }
  }
  return {{"rope_type", "llama3"},
          {"rope_theta", theta},
          {"factor", rope.factor},
          {"low_freq_factor", rope.low_freq_factor},
          {"high_freq_factor", rope.high_freq_factor},
          {"original_max_position_embeddings", rope.original_context}};
}

Json rope_of(const GgufHeader& header, std::span<const std::byte> bytes, const std::string& prefix,
             std::int64_t head_dim) {
  const double theta = header.number_or(prefix + "rope.freq_base", 10000);
  const std::string type = header.string_or(prefix + "rope.scaling.type", "none");
  if (header.find(gguf_rope_factors) != nullptr) return llama3_of(header, bytes, theta, head_dim);
  Json rope{{"rope_type", "default"}, {"rope_theta", theta}};
  if (type == "none") return rope;
  if (type != "linear" && type != "yarn") {
    header.fail_key(prefix + "rope.scaling.type", fmt::format("is {}, which is not known", type));
  }
  const double factor = header.number_or(prefix + "rope.scaling.factor", 1);
  if (type == "linear" && factor == 1) return rope;
  rope["rope_type"] = type;
  rope["factor"] = factor;
  if (type == "linear") return rope;
  rope["original_max_position_embeddings"] =
      header.integer(prefix + "rope.scaling.original_context_length", 1, max_size);
  rope["beta_fast"] = header.number_or(prefix + "rope.scaling.yarn_beta_fast", 32);
  rope["beta_slow"] = header.number_or(prefix + "rope.scaling.yarn_beta_slow", 1);
  rope["attention_factor"] =
      header.number_or(prefix + "rope.scaling.attn_factor", 1) * attention_mscale(factor, 1);
  return rope;
}

const Row& row_of(const GgufHeader& header) {
  const std::string architecture = header.string("general.architecture");
  const bool moe = header.integer_or(architecture + ".expert_count", 0, 0, 1 << 16) > 0;
  std::string known;
  bool named = false;  // with experts where there are none, or the other way round
  for (const Row& row : rows) {
    if (row.architecture == architecture && row.experts.has_value() == moe) return row;
    named = named || row.architecture == architecture;
    if (known.find(row.architecture) == std::string::npos) {
      known += known.empty() ? "" : ", ";
      known += row.architecture;
    }
  }
  const char* experts = !named ? "" : moe ? " with experts" : " without experts";
  throw Error(fmt::format("{}: unknown architecture {}{}", header.where, architecture, experts),
              "known: " + known);
}

/// The type of most elements, as a configuration names it; f32 stands for quantised types.
std::string_view dtype_name(const GgufHeader& header) {
  std::map<DType, std::int64_t> elements;
  for (const GgufTensor& tensor : header.tensors) {
    elements[dtype_of(tensor.type)] += element_count(tensor.shape);
  }
  const auto most =
      std::max_element(elements.begin(), elements.end(),
                       [](const auto& a, const auto& b) { return a.second < b.second; });
  if (most == elements.end()) fail("{}: holds no tensors", header.where);
  return config_name(most->first);
}

void add_moe_config(const GgufHeader& header, const Row& row, const std::string& prefix,
                    Json& config) {
  const bool local = *row.experts == renorm && !row.model_type.starts_with("qwen");
  config[local ? "num_local_experts" : "num_experts"] =
      header.integer(prefix + "expert_count", 1, 1 << 16);
  config["num_experts_per_tok"] = header.integer(prefix + "expert_used_count", 1, 1 << 16);
  config["norm_topk_prob"] = *row.experts == renorm;
  if (!row.model_type.starts_with("qwen")) return;
  config["moe_intermediate_size"] =
      header.integer(prefix + "expert_feed_forward_length", 1, max_size);
  config["mlp_only_layers"] = Json::array();
  config["decoder_sparse_step"] = 1;
  if (row.model_type == "qwen2_moe") {
    config["shared_expert_intermediate_size"] =
        header.integer(prefix + "expert_shared_feed_forward_length", 1, max_size);
  }
}

}  // namespace

std::string gguf_name(std::string_view slot) {
  constexpr std::string_view layers = "layers.";
  std::string block;
  if (slot.starts_with(layers)) {
    const std::string_view rest = slot.substr(layers.size());
    const auto dot = rest.find('.');
    block = fmt::format("blk.{}.", rest.substr(0, dot));
    slot = rest.substr(dot + 1);
  }
  const auto dot = slot.rfind('.');
  const std::string_view module = slot.substr(0, dot), ending = slot.substr(dot);
  for (const auto& [ours, theirs] : names) {
    if (ours == module) return fmt::format("{}{}{}", block, theirs, ending);
  }
  fail("GGUF has no name for {}", slot);
}

std::vector<float> llama3_factors(const RopeSpec& rope, std::int64_t head_dim) {
  std::vector<float> factors;
  const auto original = static_cast<double>(rope.original_context);
  for (std::int64_t i = 0; i < head_dim; i += 2) {
    const double exponent = static_cast<double>(i) / static_cast<double>(head_dim);
    const double wavelength = 2 * std::numbers::pi * std::pow(rope.theta, exponent);
    double factor = 1;
    if (wavelength > original / rope.low_freq_factor) {
      factor = rope.factor;
    } else if (wavelength >= original / rope.high_freq_factor) {
      const double smooth = (original / wavelength - rope.low_freq_factor) /
                            (rope.high_freq_factor - rope.low_freq_factor);
      factor = 1 / ((1 - smooth) / rope.factor + smooth);
    }
    factors.push_back(static_cast<float>(factor));
  }
  return factors;
}

bool gguf_needs_head(const ModelSpec& spec) {
  return row_of(spec).own_head;
}

bool gguf_interleaves(const ModelSpec& spec, std::string_view slot) {
  return row_of(spec).interleaved && (slot.find(".attn.q.") != std::string_view::npos ||
                                      slot.find(".attn.k.") != std::string_view::npos);
}

std::int64_t interleaved_row(std::int64_t row, std::int64_t head_dim) {
  const std::int64_t inside = row % head_dim;
  return row - inside + inside % 2 * (head_dim / 2) + inside / 2;
}

void check_gguf_can_represent(const ModelSpec& spec, const std::string& where) {
  const auto refuse = [&](std::string_view what, const std::string& hint = {}) {
    throw Error(fmt::format("{}: {}: GGUF cannot say that to llama.cpp", where, what), hint);
  };
  const Row* row = find_row(spec.family);
  if (row == nullptr) {
    std::vector<std::string_view> known;
    for (const Row& each : rows) known.push_back(each.model_type);
    throw Error(fmt::format("{}: a model of the family {} cannot be exported", where, spec.family),
                fmt::format("those that can: {}", fmt::join(known, ", ")));
  }
  if (spec.overlay) {
    refuse("layers that moebius laid over a dense family",
           "convert every layer of a llama without biases, without --granularity, --shared or a "
           "router of neurons: that is a mixtral");
  }
  for (std::size_t l = 0; l < spec.layers.size(); ++l) {
    const LayerSpec& layer = spec.layers[l];
    if (layer.window > 0 && layer.window < spec.context) {
      refuse(fmt::format("layer {} has a sliding window of {} tokens", l, layer.window),
             fmt::format("with max_position_embeddings of {} in config.json it has no effect",
                         layer.window));
    }
    if (layer.moe.has_value() != row->experts.has_value()) {
      refuse(fmt::format("layer {} is dense among mixtures of experts", l));
    }
    if (layer.moe && layer.moe->weights != *row->experts) {
      refuse(fmt::format("layer {} weights its experts by {} (norm_topk_prob)", l,
                         name_of(layer.moe->weights)));
    }
  }
  if (spec.activation != Activation::silu) refuse("an activation other than silu (hidden_act)");
  if (spec.rope.scaling == RopeScaling::dynamic) refuse("rotary positions of type dynamic");
  if (spec.rope.scaling == RopeScaling::yarn && !spec.rope.truncate) {
    refuse("yarn with \"truncate\": false");
  }
  if (spec.clip_qkv > 0) refuse("bounds on queries, keys and values (clip_qkv)");
  if (spec.o_bias && !row->output_bias) refuse("a bias on attention's output (attention_bias)");
  if (row->square && spec.heads * spec.head_dim != spec.d_model) {
    refuse(fmt::format("{} heads of {} in a width of {}", spec.heads, spec.head_dim, spec.d_model));
  }
  if (spec.qk_norm == QkNorm::all && spec.heads != spec.kv_heads) {
    refuse("fewer heads for keys than for queries (num_key_value_heads)");
  }
}

GgufMetadata gguf_hyperparameters(const ModelSpec& spec) {
  const Row& row = row_of(spec);
  const std::string prefix = fmt::format("{}.", row.architecture);
  GgufMetadata out;
  out["general.architecture"] = std::string(row.architecture);
  out["general.type"] = std::string("model");
  out[prefix + "vocab_size"] = spec.vocab;
  out[prefix + "context_length"] = stated_context(spec);
  out[prefix + "embedding_length"] = spec.d_model;
  out[prefix + "block_count"] = static_cast<std::int64_t>(spec.layers.size());
  out[prefix + "feed_forward_length"] = spec.layers[0].width;
  out[prefix + "attention.head_count"] = spec.heads;
  out[prefix + "attention.head_count_kv"] = spec.kv_heads;
  out[prefix + "attention.key_length"] = spec.head_dim;
  out[prefix + "attention.value_length"] = spec.head_dim;
  out[prefix + "attention.layer_norm_rms_epsilon"] = spec.norm_eps;
  if (is_granite(spec)) {
    out[prefix + "attention.scale"] = spec.attention_scale;
    out[prefix + "embedding_scale"] = spec.embedding_multiplier;
    out[prefix + "residual_scale"] = spec.residual_multiplier;
    out[prefix + "logit_scale"] = spec.logits_divisor;
  }
  if (const auto& moe = spec.layers[0].moe) add_moe(spec, *moe, prefix, out);
  add_rope(spec, prefix, out);
  return out;
}

Json config_of_gguf(const GgufHeader& header, std::span<const std::byte> bytes) {
  const Row& row = row_of(header);
  const std::string prefix = fmt::format("{}.", row.architecture);
  const auto size = [&](const char* key, std::int64_t max = max_size) {
    return header.integer(prefix + key, 1, max);
  };
  const auto size_or = [&](const char* key, std::int64_t fallback) {
    return header.integer_or(prefix + key, fallback, 1, max_size);
  };
  Json config;
  config["architectures"] = {family_of(row.model_type, header.where).architecture};
  config["model_type"] = row.model_type;
  config["dtype"] = dtype_name(header);
  const GgufTensor* embedding = header.find("token_embd.weight");
  if (embedding == nullptr) fail("{}: tensor token_embd.weight is missing", header.where);
  config["vocab_size"] = embedding->shape.front();
  const std::int64_t width = size("embedding_length"), heads = size("attention.head_count");
  config["hidden_size"] = width;
  config["num_hidden_layers"] = size("block_count", 1 << 16);
  config["intermediate_size"] = size("feed_forward_length");
  config["num_attention_heads"] = heads;
  config["num_key_value_heads"] = size_or("attention.head_count_kv", heads);
  const std::int64_t head_dim =
      size_or("attention.key_length", std::max<std::int64_t>(1, width / heads));
  for (const char* key : {"attention.value_length", "rope.dimension_count"}) {
    if (size_or(key, head_dim) != head_dim) {
      header.fail_key(prefix + key, fmt::format("is not {}, the length of a key", head_dim));
    }
  }
  config["head_dim"] = head_dim;
  config["max_position_embeddings"] = size("context_length");
  config["rms_norm_eps"] = header.number(prefix + "attention.layer_norm_rms_epsilon");
  config["rope_parameters"] = rope_of(header, bytes, prefix, head_dim);
  config["hidden_act"] = "silu";
  config["tie_word_embeddings"] = header.find("output.weight") == nullptr;
  config["attention_bias"] = header.find("blk.0.attn_q.bias") != nullptr;
  config["mlp_bias"] = header.find("blk.0.ffn_up.bias") != nullptr;
  if (row.architecture.starts_with("granite")) {
    config["attention_multiplier"] =
        header.number_or(prefix + "attention.scale", 1 / std::sqrt(static_cast<double>(head_dim)));
    config["embedding_multiplier"] = header.number_or(prefix + "embedding_scale", 1);
    config["residual_multiplier"] = header.number_or(prefix + "residual_scale", 1);
    config["logits_scaling"] = header.number_or(prefix + "logit_scale", 1);
  }
  if (row.experts) add_moe_config(header, row, prefix, config);
  const auto token = [&](const char* key) {
    return header.has(key) ? Json(header.integer(key, 0, max_size)) : Json();
  };
  config["bos_token_id"] = token("tokenizer.ggml.bos_token_id");
  config["eos_token_id"] = token("tokenizer.ggml.eos_token_id");
  for (const char* key : {"tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"}) {
    if (!header.has(key) || !header.has("tokenizer.ggml.eos_token_id")) continue;
    Json& eos = config["eos_token_id"];
    if (!eos.is_array()) eos = Json::array({eos});
    if (const Json more = token(key); std::find(eos.begin(), eos.end(), more) == eos.end()) {
      eos.push_back(more);
    }
  }
  return config;
}

}  // namespace moebius
