#include "config/families.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace moebius {
namespace {

constexpr std::int64_t max_size = std::int64_t{1} << 31;

// ---- Rules that rows share -------------------------------------------------------------------

const std::vector<NameRule> llama_frame{
    {"embed.weight", "model.embed_tokens.weight"},
    {"norm.weight", "model.norm.weight"},
    {"head.weight", "lm_head.weight"},
    {"layers.{l}.attn_norm.weight", "model.layers.{l}.input_layernorm.weight"},
    {"layers.{l}.ffn_norm.weight", "model.layers.{l}.post_attention_layernorm.weight"},
    {"layers.{l}.attn.q.weight", "model.layers.{l}.self_attn.q_proj.weight"},
    {"layers.{l}.attn.q.bias", "model.layers.{l}.self_attn.q_proj.bias"},
    {"layers.{l}.attn.k.weight", "model.layers.{l}.self_attn.k_proj.weight"},
    {"layers.{l}.attn.k.bias", "model.layers.{l}.self_attn.k_proj.bias"},
    {"layers.{l}.attn.v.weight", "model.layers.{l}.self_attn.v_proj.weight"},
    {"layers.{l}.attn.v.bias", "model.layers.{l}.self_attn.v_proj.bias"},
    {"layers.{l}.attn.o.weight", "model.layers.{l}.self_attn.o_proj.weight"},
    {"layers.{l}.attn.o.bias", "model.layers.{l}.self_attn.o_proj.bias"},
};

const std::vector<NameRule> llama_ffn{
    {"layers.{l}.ffn.gate.weight", "model.layers.{l}.mlp.gate_proj.weight"},
    {"layers.{l}.ffn.gate.bias", "model.layers.{l}.mlp.gate_proj.bias"},
    {"layers.{l}.ffn.up.weight", "model.layers.{l}.mlp.up_proj.weight"},
    {"layers.{l}.ffn.up.bias", "model.layers.{l}.mlp.up_proj.bias"},
    {"layers.{l}.ffn.down.weight", "model.layers.{l}.mlp.down_proj.weight"},
    {"layers.{l}.ffn.down.bias", "model.layers.{l}.mlp.down_proj.bias"},
};

const std::vector<NameRule> mixtral_moe{
    {"layers.{l}.moe.router.weight", "model.layers.{l}.block_sparse_moe.gate.weight"},
    {"layers.{l}.moe.experts.gate.weight",
     "model.layers.{l}.block_sparse_moe.experts.{e}.w1.weight"},
    {"layers.{l}.moe.experts.up.weight", "model.layers.{l}.block_sparse_moe.experts.{e}.w3.weight"},
    {"layers.{l}.moe.experts.down.weight",
     "model.layers.{l}.block_sparse_moe.experts.{e}.w2.weight"},
};

const std::vector<NameRule> granite_moe{
    {"layers.{l}.moe.router.weight", "model.layers.{l}.block_sparse_moe.router.layer.weight"},
    {"layers.{l}.moe.experts.gate.weight", "model.layers.{l}.block_sparse_moe.input_linear.weight"},
    {"layers.{l}.moe.experts.up.weight", "model.layers.{l}.block_sparse_moe.input_linear.weight"},
    {"layers.{l}.moe.experts.down.weight",
     "model.layers.{l}.block_sparse_moe.output_linear.weight"},
};

const std::vector<NameRule> gpt2_rules{
    {"embed.weight", "transformer.wte.weight"},
    {"position.weight", "transformer.wpe.weight"},
    {"norm.weight", "transformer.ln_f.weight"},
    {"norm.bias", "transformer.ln_f.bias"},
    {"head.weight", "lm_head.weight"},
    {"layers.{l}.attn_norm.weight", "transformer.h.{l}.ln_1.weight"},
    {"layers.{l}.attn_norm.bias", "transformer.h.{l}.ln_1.bias"},
    {"layers.{l}.ffn_norm.weight", "transformer.h.{l}.ln_2.weight"},
    {"layers.{l}.ffn_norm.bias", "transformer.h.{l}.ln_2.bias"},
    {"layers.{l}.attn.q.weight", "transformer.h.{l}.attn.c_attn.weight", true},
    {"layers.{l}.attn.k.weight", "transformer.h.{l}.attn.c_attn.weight", true},
    {"layers.{l}.attn.v.weight", "transformer.h.{l}.attn.c_attn.weight", true},
    {"layers.{l}.attn.q.bias", "transformer.h.{l}.attn.c_attn.bias"},
    {"layers.{l}.attn.k.bias", "transformer.h.{l}.attn.c_attn.bias"},
    {"layers.{l}.attn.v.bias", "transformer.h.{l}.attn.c_attn.bias"},
    {"layers.{l}.attn.o.weight", "transformer.h.{l}.attn.c_proj.weight", true},
    {"layers.{l}.attn.o.bias", "transformer.h.{l}.attn.c_proj.bias"},
    {"layers.{l}.ffn.up.weight", "transformer.h.{l}.mlp.c_fc.weight", true},
    {"layers.{l}.ffn.up.bias", "transformer.h.{l}.mlp.c_fc.bias"},
    {"layers.{l}.ffn.down.weight", "transformer.h.{l}.mlp.c_proj.weight", true},
    {"layers.{l}.ffn.down.bias", "transformer.h.{l}.mlp.c_proj.bias"},
};

std::vector<NameRule> join(std::vector<NameRule> a, const std::vector<NameRule>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

// ---- Configurations --------------------------------------------------------------------------

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

/// `rope_parameters` of transformers 5, or `rope_theta` beside `rope_scaling`.
void read_rope(const JsonView& config, ModelSpec& spec, double default_theta) {
  spec.position = PositionKind::rope;
  spec.rope_theta = config.number_or("rope_theta", default_theta);
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    if (!config.has(key)) continue;
    const JsonView rope = config.object(key);
    const std::string type = rope.string_or("rope_type", rope.string_or("type", "default"));
    if (type != "default") {
      rope.fail_key("rope_type", fmt::format("is {}; only default is supported", type));
    }
    if (rope.number_or("partial_rotary_factor", 1.0) != 1.0) {
      rope.fail_key("partial_rotary_factor", "other than 1 is not supported");
    }
    spec.rope_theta = rope.number_or("rope_theta", spec.rope_theta);
  }
  if (spec.rope_theta <= 0) config.fail_key("rope_theta", "is not positive");
}

struct LlamaDefaults {
  double norm_eps, rope_theta;
  std::int64_t kv_heads;  ///< 0: as many as heads
  std::int64_t context;
};

/// What all families with Llama's skeleton have in common.
void read_llama_skeleton(const JsonView& c, ModelSpec& spec, const LlamaDefaults& defaults) {
  spec.vocab = c.integer("vocab_size", 1, max_size);
  spec.d_model = c.integer("hidden_size", 1, max_size);
  spec.heads = c.integer("num_attention_heads", 1, max_size);
  spec.kv_heads = c.integer_or("num_key_value_heads",
                               defaults.kv_heads ? defaults.kv_heads : spec.heads, 1, max_size);
  if (spec.heads % spec.kv_heads != 0) {
    c.fail_key("num_key_value_heads",
               fmt::format("is {}, which does not divide {} heads", spec.kv_heads, spec.heads));
  }
  if (!c.has("head_dim") && spec.d_model % spec.heads != 0) {
    c.fail_key("num_attention_heads", fmt::format("is {}, which does not divide hidden_size {}",
                                                  spec.heads, spec.d_model));
  }
  spec.head_dim = c.integer_or("head_dim", spec.d_model / spec.heads, 1, max_size);
  if (spec.head_dim % 2 != 0) c.fail_key("head_dim", "is odd: rotary positions need pairs");
  spec.context = c.integer_or("max_position_embeddings", defaults.context, 1, max_size);
  LayerSpec layer;
  layer.width = c.integer("intermediate_size", 1, max_size);
  spec.layers.assign(static_cast<std::size_t>(c.integer("num_hidden_layers", 1, 1 << 16)), layer);
  spec.norm = NormKind::rms;
  spec.norm_eps = c.number_or("rms_norm_eps", defaults.norm_eps);
  read_rope(c, spec, defaults.rope_theta);
  spec.activation = activation_from(c, "hidden_act", "silu");
  spec.gated = true;
  spec.tied = c.boolean_or("tie_word_embeddings", false);
  spec.attention_scale = 1.0 / std::sqrt(static_cast<double>(spec.head_dim));
  // Within the window, sliding attention is full attention: so far is what can be computed.
  if (c.has("sliding_window")) {
    spec.context = std::min(spec.context, c.integer("sliding_window", 1, max_size));
  }
}

/// Every layer becomes an MoE with the dense width as expert width.
void read_experts(const JsonView& c, ModelSpec& spec) {
  MoeSpec moe;
  moe.experts = c.integer("num_local_experts", 1, 1 << 16);
  moe.top_k = c.integer("num_experts_per_tok", 1, 1 << 16);
  moe.groups = moe.experts;
  moe.width = spec.layers[0].width;
  check_moe(moe, c.where());
  for (LayerSpec& layer : spec.layers) layer.moe = moe;
  spec.balance_coefficient = c.number_or("router_aux_loss_coef", 0.001);
}

void read_llama(const JsonView& c, ModelSpec& spec) {
  read_llama_skeleton(c, spec, {1e-6, 1e4, 0, 2048});
  spec.qkv_bias = spec.o_bias = c.boolean_or("attention_bias", false);
  spec.mlp_bias = c.boolean_or("mlp_bias", false);
}

void read_mistral(const JsonView& c, ModelSpec& spec) {
  read_llama_skeleton(c, spec, {1e-6, 1e4, 8, 131072});
}

void read_mixtral(const JsonView& c, ModelSpec& spec) {
  read_llama_skeleton(c, spec, {1e-5, 1e6, 8, 131072});
  read_experts(c, spec);
}

void read_granitemoe(const JsonView& c, ModelSpec& spec) {
  read_llama_skeleton(c, spec, {1e-6, 1e4, 0, 2048});
  read_experts(c, spec);
  spec.qkv_bias = spec.o_bias = c.boolean_or("attention_bias", false);
  spec.embedding_multiplier = c.number_or("embedding_multiplier", 1.0);
  spec.attention_scale = c.number_or("attention_multiplier", 1.0);
  spec.residual_multiplier = c.number_or("residual_multiplier", 1.0);
  spec.logits_divisor = c.number_or("logits_scaling", 1.0);
  if (spec.logits_divisor == 0) c.fail_key("logits_scaling", "is zero");
}

void read_gpt2(const JsonView& c, ModelSpec& spec) {
  spec.vocab = c.integer("vocab_size", 1, max_size);
  spec.d_model = c.integer("n_embd", 1, max_size);
  spec.heads = spec.kv_heads = c.integer("n_head", 1, max_size);
  if (spec.d_model % spec.heads != 0) c.fail_key("n_head", "does not divide n_embd");
  spec.head_dim = spec.d_model / spec.heads;
  spec.context = c.integer_or("n_positions", 1024, 1, max_size);
  LayerSpec layer;
  layer.width = c.integer_or("n_inner", 4 * spec.d_model, 1, max_size);
  spec.layers.assign(static_cast<std::size_t>(c.integer("n_layer", 1, 1 << 16)), layer);
  spec.norm = NormKind::layer;
  spec.norm_eps = c.number_or("layer_norm_epsilon", 1e-5);
  spec.position = PositionKind::learned;
  spec.activation = activation_from(c, "activation_function", "gelu_new");
  spec.gated = false;
  spec.qkv_bias = spec.o_bias = spec.mlp_bias = true;
  spec.tied = c.boolean_or("tie_word_embeddings", true);
  const bool scaled = c.boolean_or("scale_attn_weights", true);
  spec.attention_scale = scaled ? 1.0 / std::sqrt(static_cast<double>(spec.head_dim)) : 1.0;
  if (c.boolean_or("scale_attn_by_inverse_layer_idx", false)) {
    c.fail_key("scale_attn_by_inverse_layer_idx", "is not supported");
  }
}

// ---- The table -------------------------------------------------------------------------------

const std::vector<Family>& table() {
  static const std::vector<Family> rows{
      {"llama",
       "LlamaForCausalLM",
       "LlamaConfig",
       read_llama,
       join(llama_frame, llama_ffn),
       {"*.rotary_emb.inv_freq"},
       "model.",
       "model.layers",
       "mlp"},
      {"mistral",
       "MistralForCausalLM",
       "MistralConfig",
       read_mistral,
       join(llama_frame, llama_ffn),
       {"*.rotary_emb.inv_freq"},
       "model.",
       "model.layers",
       "mlp"},
      {"mixtral",
       "MixtralForCausalLM",
       "MixtralConfig",
       read_mixtral,
       join(llama_frame, mixtral_moe),
       {"*.rotary_emb.inv_freq"},
       "model.",
       "model.layers",
       "block_sparse_moe"},
      {"granitemoe",
       "GraniteMoeForCausalLM",
       "GraniteMoeConfig",
       read_granitemoe,
       join(llama_frame, granite_moe),
       {"*.rotary_emb.inv_freq"},
       "model.",
       "model.layers",
       "block_sparse_moe"},
      {"gpt2",
       "GPT2LMHeadModel",
       "GPT2Config",
       read_gpt2,
       gpt2_rules,
       {"*h.*.attn.bias", "*h.*.attn.masked_bias"},
       "transformer.",
       "transformer.h",
       "mlp"},
  };
  return rows;
}

/// Lays the MoE layers that moebius wrote over the dense layers of the family.
void read_overlay(const JsonView& overlay, ModelSpec& spec) {
  spec.overlay = true;
  overlay.integer("format", 1, 1);
  for (const JsonView& row : overlay.objects("layers")) {
    const auto count = static_cast<std::int64_t>(spec.layers.size());
    const auto l = static_cast<std::size_t>(row.integer("layer", 0, count - 1));
    MoeSpec moe;
    moe.experts = row.integer("experts", 1, 1 << 16);
    moe.top_k = row.integer("top_k", 1, 1 << 16);
    moe.width = row.integer("width", 1, max_size);
    moe.scores = router_scores_from(row.string_or("router_scores", "linear"), row.where());
    moe.weights =
        router_weights_from(row.string_or("router_weights", "softmax_renorm"), row.where());
    moe.groups = row.integer_or("router_groups", moe.experts, 1, 1 << 16);
    moe.shared_width = row.integer_or("shared_width", 0, 0, max_size);
    check_moe(moe, row.where());
    spec.layers[l].moe = moe;
  }
  spec.balance_coefficient = overlay.number_or("balance_coefficient", 0.01);
}

}  // namespace

std::span<const Family> families() {
  return table();
}

const Family& family_of(std::string_view model_type, std::string_view where) {
  std::string known;
  for (const Family& family : families()) {
    if (family.model_type == model_type) return family;
    known += known.empty() ? "" : ", ";
    known += family.model_type;
  }
  throw Error(fmt::format("{}: unknown architecture: model_type \"{}\"", where, model_type),
              "known: " + known);
}

ModelSpec parse_model_spec(const Json& config, const std::string& where) {
  const JsonView view(config, where);
  ModelSpec spec;
  const std::string model_type = view.string("model_type");
  const bool overlay = model_type == "moebius";
  spec.family = overlay ? view.object("moebius").string("family") : model_type;
  family_of(spec.family, where).read(view, spec);
  if (overlay) read_overlay(view.object("moebius"), spec);

  const std::string dtype = view.string_or("dtype", view.string_or("torch_dtype", "float32"));
  const auto parsed = dtype_from_config(dtype);
  if (!parsed || !is_weight_dtype(*parsed)) {
    view.fail_key("dtype", fmt::format("is {}; known: float32, float16, bfloat16", dtype));
  }
  spec.dtype = *parsed;
  spec.initializer_range = view.number_or("initializer_range", 0.02);
  if (const auto bos = view.integers("bos_token_id"); !bos.empty()) spec.bos = bos[0];
  spec.eos = view.integers("eos_token_id");
  return spec;
}

ModelSpec read_model_spec(const fs::path& directory) {
  if (!fs::is_directory(directory)) {
    throw Error(fmt::format("{}: no such directory", directory.string()),
                "give a directory in Hugging Face layout");
  }
  const fs::path file = directory / "config.json";
  ModelSpec spec = parse_model_spec(parse_json_file(file), file.string());
  const fs::path generation = directory / "generation_config.json";
  if (fs::exists(generation)) {
    const Json json = parse_json_file(generation);
    const JsonView view(json, generation.string());
    if (auto eos = view.integers("eos_token_id"); !eos.empty()) spec.eos = std::move(eos);
    if (const auto bos = view.integers("bos_token_id"); !bos.empty()) spec.bos = bos[0];
  }
  return spec;
}

std::string substitute(std::string_view pattern, std::string_view key, std::int64_t value) {
  std::string out(pattern);
  const std::string mark = fmt::format("{{{}}}", key);
  if (const auto at = out.find(mark); at != std::string::npos) {
    out.replace(at, mark.size(), std::to_string(value));
  }
  return out;
}

bool matches(std::string_view pattern, std::string_view name) {
  const auto star = pattern.find('*');
  if (star == std::string_view::npos) return pattern == name;
  if (!name.starts_with(pattern.substr(0, star))) return false;
  pattern.remove_prefix(star + 1);
  name.remove_prefix(star);
  for (std::size_t skip = 0; skip <= name.size(); ++skip) {
    if (matches(pattern, name.substr(skip))) return true;
  }
  return false;
}

}  // namespace moebius
