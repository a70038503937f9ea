#include "config/families.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "config/family_parts.h"

namespace moebius {
namespace {

// ---- Llama and its like ----------------------------------------------------------------------

void read_llama(const JsonView& c, ModelSpec& spec) {
  read_llama_skeleton(c, spec, {});
  spec.qkv_bias = spec.o_bias = c.boolean_or("attention_bias", false);
  spec.mlp_bias = c.boolean_or("mlp_bias", false);
}

void read_granite(const JsonView& c, ModelSpec& spec) {
  read_llama(c, spec);
  read_granite_factors(c, spec);
}

/// The same window in every layer; `fallback` where the key is absent, none where it is null.
void read_one_window(const JsonView& c, ModelSpec& spec, std::int64_t fallback) {
  const bool absent = !c.json().contains("sliding_window");
  const std::int64_t window = absent ? fallback : c.integer_or("sliding_window", 0, 1, max_size);
  for (LayerSpec& layer : spec.layers) layer.window = window;
}

void read_mistral(const JsonView& c, ModelSpec& spec) {
  read_llama_skeleton(c, spec, {.kv_heads = 8, .context = 131072});
  read_one_window(c, spec, 4096);
}

// ---- Mixtral and Granite MoE -----------------------------------------------------------------

constexpr NameRule mixtral_moe[] = {
    {"layers.{l}.moe.router.weight", "model.layers.{l}.block_sparse_moe.gate.weight"},
    {"layers.{l}.moe.experts.gate.weight",
     "model.layers.{l}.block_sparse_moe.experts.{e}.w1.weight"},
    {"layers.{l}.moe.experts.up.weight", "model.layers.{l}.block_sparse_moe.experts.{e}.w3.weight"},
    {"layers.{l}.moe.experts.down.weight",
     "model.layers.{l}.block_sparse_moe.experts.{e}.w2.weight"},
};

constexpr NameRule mixtral_fused[] = {
    {"layers.{l}.moe.router.weight", "model.layers.{l}.mlp.gate.weight"},
    {"layers.{l}.moe.experts.gate.weight", "model.layers.{l}.mlp.experts.gate_up_proj"},
    {"layers.{l}.moe.experts.up.weight", "model.layers.{l}.mlp.experts.gate_up_proj"},
    {"layers.{l}.moe.experts.down.weight", "model.layers.{l}.mlp.experts.down_proj"},
};

void read_mixtral(const JsonView& c, ModelSpec& spec) {
  read_llama_skeleton(c, spec,
                      {.norm_eps = 1e-5, .rope_theta = 1e6, .kv_heads = 8, .context = 131072});
  read_one_window(c, spec, 0);
  place_moe(c, spec, read_moe(c, {"num_local_experts", "intermediate_size", false}));
}

constexpr NameRule granite_moe[] = {
    {"layers.{l}.moe.router.weight", "model.layers.{l}.block_sparse_moe.router.layer.weight"},
    {"layers.{l}.moe.experts.gate.weight", "model.layers.{l}.block_sparse_moe.input_linear.weight"},
    {"layers.{l}.moe.experts.up.weight", "model.layers.{l}.block_sparse_moe.input_linear.weight"},
    {"layers.{l}.moe.experts.down.weight",
     "model.layers.{l}.block_sparse_moe.output_linear.weight"},
};

constexpr NameRule granite_fused[] = {
    {"layers.{l}.moe.router.weight", "model.layers.{l}.block_sparse_moe.router.weight"},
    {"layers.{l}.moe.experts.gate.weight",
     "model.layers.{l}.block_sparse_moe.experts.gate_up_proj"},
    {"layers.{l}.moe.experts.up.weight", "model.layers.{l}.block_sparse_moe.experts.gate_up_proj"},
    {"layers.{l}.moe.experts.down.weight", "model.layers.{l}.block_sparse_moe.experts.down_proj"},
};

void read_granitemoe(const JsonView& c, ModelSpec& spec) {
  read_llama_skeleton(c, spec, {});
  spec.qkv_bias = spec.o_bias = c.boolean_or("attention_bias", false);
  read_granite_factors(c, spec);
  place_moe(c, spec, read_moe(c, {"num_local_experts", "intermediate_size", false}));
}

// ---- Qwen and OLMoE --------------------------------------------------------------------------

/// `sliding_window` counts only with `use_sliding_window`.
std::int64_t qwen_window(const JsonView& c) {
  const bool used = c.boolean_or("use_sliding_window", false);
  return used ? c.integer_or("sliding_window", 4096, 1, max_size) : 0;
}

bool beyond_window_layers(const JsonView& c, std::int64_t layer) {
  return layer >= c.integer_or("max_window_layers", 28, 0, max_size);
}

void read_qwen2(const JsonView& c, ModelSpec& spec) {
  read_llama_skeleton(c, spec, {.kv_heads = 32, .context = 32768});
  spec.qkv_bias = true;
  read_windows(c, spec, qwen_window(c), beyond_window_layers);
}

void read_qwen3(const JsonView& c, ModelSpec& spec) {
  read_llama_skeleton(c, spec, {.kv_heads = 32, .context = 32768, .head_dim = 128});
  spec.qkv_bias = spec.o_bias = c.boolean_or("attention_bias", false);
  spec.qk_norm = QkNorm::head;
  read_windows(c, spec, qwen_window(c), beyond_window_layers);
}

constexpr NameRule qwen2_shared[] = {
    {"layers.{l}.moe.shared.gate.weight", "model.layers.{l}.mlp.shared_expert.gate_proj.weight"},
    {"layers.{l}.moe.shared.up.weight", "model.layers.{l}.mlp.shared_expert.up_proj.weight"},
    {"layers.{l}.moe.shared.down.weight", "model.layers.{l}.mlp.shared_expert.down_proj.weight"},
    {"layers.{l}.moe.shared_gate.weight", "model.layers.{l}.mlp.shared_expert_gate.weight"},
};

void read_qwen2_moe(const JsonView& c, ModelSpec& spec) {
  read_llama_skeleton(c, spec, {.kv_heads = 16, .context = 32768});
  spec.qkv_bias = c.boolean_or("qkv_bias", true);
  read_windows(c, spec, qwen_window(c), [](const JsonView& config, std::int64_t layer) {
    return layer % 2 == 0 && !beyond_window_layers(config, layer);
  });
  MoeSpec moe = read_moe(c, {"num_experts", "moe_intermediate_size", true});
  moe.shared_width = c.integer("shared_expert_intermediate_size", 1, max_size);
  moe.shared_gate = true;
  place_moe(c, spec, moe);
}

void read_qwen3_moe(const JsonView& c, ModelSpec& spec) {
  read_llama_skeleton(c, spec, {.kv_heads = 4, .context = 32768});
  spec.qkv_bias = spec.o_bias = c.boolean_or("attention_bias", false);
  spec.qk_norm = QkNorm::head;
  for (LayerSpec& layer : spec.layers) layer.window = qwen_window(c);
  const char* experts = c.has("num_experts") ? "num_experts" : "num_local_experts";
  place_moe(c, spec, read_moe(c, {experts, "moe_intermediate_size", true}));
}

void read_olmoe(const JsonView& c, ModelSpec& spec) {
  read_llama_skeleton(c, spec, {.norm_eps = 1e-5, .context = 4096});
  spec.qkv_bias = spec.o_bias = c.boolean_or("attention_bias", false);
  spec.qk_norm = QkNorm::all;
  spec.clip_qkv = c.number_or("clip_qkv", 0);
  if (spec.clip_qkv < 0) c.fail_key("clip_qkv", "is negative");
  place_moe(c, spec, read_moe(c, {"num_experts", "intermediate_size", true}), 0.01);
}

// ---- DeepSeek --------------------------------------------------------------------------------

constexpr NameRule latent_attention[] = {
    {"layers.{l}.attn.q_latent.a.weight", "model.layers.{l}.self_attn.q_a_proj.weight"},
    {"layers.{l}.attn.q_latent.a.bias", "model.layers.{l}.self_attn.q_a_proj.bias"},
    {"layers.{l}.attn.q_latent.norm.weight", "model.layers.{l}.self_attn.q_a_layernorm.weight"},
    {"layers.{l}.attn.q_latent.b.weight", "model.layers.{l}.self_attn.q_b_proj.weight"},
    {"layers.{l}.attn.kv_latent.a.weight", "model.layers.{l}.self_attn.kv_a_proj_with_mqa.weight"},
    {"layers.{l}.attn.kv_latent.a.bias", "model.layers.{l}.self_attn.kv_a_proj_with_mqa.bias"},
    {"layers.{l}.attn.kv_latent.norm.weight", "model.layers.{l}.self_attn.kv_a_layernorm.weight"},
    {"layers.{l}.attn.kv_latent.b.weight", "model.layers.{l}.self_attn.kv_b_proj.weight"},
};
constexpr NameRule deepseek_moe[] = {
    {"layers.{l}.moe.router.correction", "model.layers.{l}.mlp.gate.e_score_correction_bias"},
    {"layers.{l}.moe.shared.gate.weight", "model.layers.{l}.mlp.shared_experts.gate_proj.weight"},
    {"layers.{l}.moe.shared.up.weight", "model.layers.{l}.mlp.shared_experts.up_proj.weight"},
    {"layers.{l}.moe.shared.down.weight", "model.layers.{l}.mlp.shared_experts.down_proj.weight"},
};

void read_latent_attention(const JsonView& c, ModelSpec& spec) {
  constexpr std::int64_t max_dim = max_size / 4;  // sums of two times heads do not overflow
  LatentSpec latent;
  const bool named = c.json().contains("q_lora_rank");  // null: queries are made of x
  latent.q_rank = c.integer_or("q_lora_rank", named ? 0 : 1536, 1, max_size);
  latent.kv_rank = c.integer("kv_lora_rank", 1, max_size);
  latent.rope_dim = c.integer("qk_rope_head_dim", 2, max_dim);
  if (latent.rope_dim % 2 != 0) c.fail_key("qk_rope_head_dim", "is odd: positions need pairs");
  latent.value_dim = c.integer("v_head_dim", 1, max_dim);
  spec.latent = latent;
  spec.heads = c.integer("num_attention_heads", 1, max_size);
  spec.kv_heads = c.integer_or("num_key_value_heads", spec.heads, 1, max_size);
  if (spec.kv_heads != spec.heads) {
    c.fail_key("num_key_value_heads",
               fmt::format("is {}, and not {}, the number of heads", spec.kv_heads, spec.heads));
  }
  spec.head_dim = c.integer("qk_nope_head_dim", 1, max_dim) + latent.rope_dim;
  spec.qkv_bias = spec.o_bias = c.boolean_or("attention_bias", false);
  read_rope(c, spec, 1e4);
  const double mscale = attention_mscale(spec.rope.factor, spec.rope.mscale_all_dim);
  spec.attention_scale = mscale * mscale / std::sqrt(static_cast<double>(spec.head_dim));
}

/// Defaults of a configuration class in transformers.
struct DeepseekDefaults {
  std::int64_t dense, shared;  ///< first layers; shared experts
  double factor;               ///< on the experts' weights
};

MoeSpec read_deepseek_moe(const JsonView& c) {
  return read_moe(c, {"n_routed_experts", "moe_intermediate_size", false});
}

/// Gives `moe` to all but the first layers.
void place_deepseek_moe(const JsonView& c, ModelSpec& spec, MoeSpec moe,
                        const DeepseekDefaults& defaults) {
  moe.shared_width = moe.width * c.integer_or("n_shared_experts", defaults.shared, 0, max_experts);
  moe.weight_factor = c.number_or("routed_scaling_factor", defaults.factor);
  check_moe(moe, c.where());
  const std::int64_t dense = c.integer_or("first_k_dense_replace", defaults.dense, 0, max_layers);
  for (std::size_t l = static_cast<std::size_t>(dense); l < spec.layers.size(); ++l) {
    spec.layers[l].moe = moe;
  }
}

/// `norm_topk_prob` has no effect, in transformers neither.
void read_deepseek_v2(const JsonView& c, ModelSpec& spec) {
  read_llama_frame(c, spec, {});
  read_latent_attention(c, spec);
  spec.rope.interleaved = true;
  if (c.boolean_or("mlp_bias", false)) c.fail_key("mlp_bias", "other than false is not supported");
  MoeSpec moe = read_deepseek_moe(c);
  moe.weights = RouterWeights::softmax;
  const std::string method = c.string_or("topk_method", "greedy");
  if (method == "group_limited_greedy") {
    moe.limit = {c.integer("n_group", 1, max_experts), c.integer("topk_group", 1, max_experts), 1};
  } else if (method != "greedy") {
    c.fail_key("topk_method", fmt::format("is {}; known: greedy, group_limited_greedy", method));
  }
  place_deepseek_moe(c, spec, moe, {.dense = 0, .shared = 2, .factor = 1});
}

void read_deepseek_v3(const JsonView& c, ModelSpec& spec) {
  read_llama_frame(c, spec, {.context = 4096});
  read_latent_attention(c, spec);
  spec.rope.interleaved = c.boolean_or("rope_interleave", true);
  MoeSpec moe = read_deepseek_moe(c);
  moe.weights =
      c.boolean_or("norm_topk_prob", true) ? RouterWeights::sigmoid_renorm : RouterWeights::sigmoid;
  moe.corrected = true;
  moe.limit = {c.integer_or("n_group", 8, 1, max_experts),
               c.integer_or("topk_group", 4, 1, max_experts), 2};
  place_deepseek_moe(c, spec, moe, {.dense = 3, .shared = 1, .factor = 2.5});
}

// ---- GPT-2 and OPT ---------------------------------------------------------------------------

constexpr NameRule gpt2_rules[] = {
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

void read_gpt2(const JsonView& c, ModelSpec& spec) {
  spec.vocab = c.integer("vocab_size", 1, max_size);
  spec.d_model = c.integer("n_embd", 1, max_size);
  spec.heads = spec.kv_heads = c.integer("n_head", 1, max_size);
  if (spec.d_model % spec.heads != 0) c.fail_key("n_head", "does not divide n_embd");
  spec.head_dim = spec.d_model / spec.heads;
  spec.context = c.integer_or("n_positions", 1024, 1, max_size);
  LayerSpec layer;
  layer.width = c.integer_or("n_inner", 4 * spec.d_model, 1, max_size);
  spec.layers.assign(static_cast<std::size_t>(c.integer("n_layer", 1, max_layers)), layer);
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

constexpr NameRule opt_rules[] = {
    {"embed.weight", "model.decoder.embed_tokens.weight"},
    {"project_in.weight", "model.decoder.project_in.weight"},
    {"project_out.weight", "model.decoder.project_out.weight"},
    {"position.weight", "model.decoder.embed_positions.weight"},
    {"norm.weight", "model.decoder.final_layer_norm.weight"},
    {"norm.bias", "model.decoder.final_layer_norm.bias"},
    {"head.weight", "lm_head.weight"},
    {"layers.{l}.attn_norm.weight", "model.decoder.layers.{l}.self_attn_layer_norm.weight"},
    {"layers.{l}.attn_norm.bias", "model.decoder.layers.{l}.self_attn_layer_norm.bias"},
    {"layers.{l}.ffn_norm.weight", "model.decoder.layers.{l}.final_layer_norm.weight"},
    {"layers.{l}.ffn_norm.bias", "model.decoder.layers.{l}.final_layer_norm.bias"},
    {"layers.{l}.attn.q.weight", "model.decoder.layers.{l}.self_attn.q_proj.weight"},
    {"layers.{l}.attn.q.bias", "model.decoder.layers.{l}.self_attn.q_proj.bias"},
    {"layers.{l}.attn.k.weight", "model.decoder.layers.{l}.self_attn.k_proj.weight"},
    {"layers.{l}.attn.k.bias", "model.decoder.layers.{l}.self_attn.k_proj.bias"},
    {"layers.{l}.attn.v.weight", "model.decoder.layers.{l}.self_attn.v_proj.weight"},
    {"layers.{l}.attn.v.bias", "model.decoder.layers.{l}.self_attn.v_proj.bias"},
    {"layers.{l}.attn.o.weight", "model.decoder.layers.{l}.self_attn.out_proj.weight"},
    {"layers.{l}.attn.o.bias", "model.decoder.layers.{l}.self_attn.out_proj.bias"},
    {"layers.{l}.ffn.up.weight", "model.decoder.layers.{l}.fc1.weight"},
    {"layers.{l}.ffn.up.bias", "model.decoder.layers.{l}.fc1.bias"},
    {"layers.{l}.ffn.down.weight", "model.decoder.layers.{l}.fc2.weight"},
    {"layers.{l}.ffn.down.bias", "model.decoder.layers.{l}.fc2.bias"},
};

void read_opt(const JsonView& c, ModelSpec& spec) {
  spec.vocab = c.integer_or("vocab_size", 50272, 1, max_size);
  spec.d_model = c.integer_or("hidden_size", 768, 1, max_size);
  spec.embed_dim = c.integer_or("word_embed_proj_dim", spec.d_model, 1, max_size);
  spec.heads = spec.kv_heads = c.integer_or("num_attention_heads", 12, 1, max_size);
  if (spec.d_model % spec.heads != 0) {
    c.fail_key("num_attention_heads", "does not divide hidden_size");
  }
  spec.head_dim = spec.d_model / spec.heads;
  spec.attention_scale = 1.0 / std::sqrt(static_cast<double>(spec.head_dim));
  spec.context = c.integer_or("max_position_embeddings", 2048, 1, max_size);
  LayerSpec layer;
  layer.width = c.integer_or("ffn_dim", 3072, 1, max_size);
  const std::int64_t layers = c.integer_or("num_hidden_layers", 12, 1, max_layers);
  spec.layers.assign(static_cast<std::size_t>(layers), layer);
  spec.norm = NormKind::layer;
  spec.post_norm = !c.boolean_or("do_layer_norm_before", true);
  spec.final_norm = !spec.post_norm && !c.boolean_or("_remove_final_layer_norm", false);
  if (!c.boolean_or("layer_norm_elementwise_affine", true)) {
    c.fail_key("layer_norm_elementwise_affine", "other than true is not supported");
  }
  spec.position = PositionKind::learned;
  spec.position_offset = 2;
  spec.activation = activation_from(c, "activation_function", "relu");
  spec.gated = false;
  spec.qkv_bias = spec.o_bias = spec.mlp_bias = c.boolean_or("enable_bias", true);
  spec.tied = c.boolean_or("tie_word_embeddings", true);
}

// ---- The table -------------------------------------------------------------------------------

/// A row whose rules are Llama's but for the FFN; `stem` begins the names of its classes in
/// transformers.
Family like_llama(std::string_view model_type, const std::string& stem,
                  void (*read)(const JsonView&, ModelSpec&), std::vector<NameRule> rules,
                  std::string_view ffn_module = "mlp",
                  std::vector<std::string_view> ignored = {"*.rotary_emb.inv_freq"}) {
  return {model_type, stem + "ForCausalLM", stem + "Config",
          read,       std::move(rules),     std::move(ignored),
          "model.",   "model.layers",       ffn_module};
}

/// `family` with other names that its files may use.
Family with_alternatives(Family family, std::span<const NameRule> alternatives) {
  family.alternatives.assign(alternatives.begin(), alternatives.end());
  return family;
}

const std::vector<Family>& table() {
  static const std::vector<NameRule> deepseek_rules =
      join({llama_frame, latent_attention, llama_ffn, mlp_experts, deepseek_moe});
  static const std::vector<Family> rows{
      like_llama("llama", "Llama", read_llama, join({llama_frame, llama_ffn})),
      like_llama("mistral", "Mistral", read_mistral, join({llama_frame, llama_ffn})),
      like_llama("granite", "Granite", read_granite, join({llama_frame, llama_ffn})),
      like_llama("qwen2", "Qwen2", read_qwen2, join({llama_frame, llama_ffn})),
      like_llama("qwen3", "Qwen3", read_qwen3, join({llama_frame, qk_norms, llama_ffn})),
      with_alternatives(like_llama("mixtral", "Mixtral", read_mixtral,
                                   join({llama_frame, mixtral_moe}), "block_sparse_moe"),
                        mixtral_fused),
      with_alternatives(like_llama("granitemoe", "GraniteMoe", read_granitemoe,
                                   join({llama_frame, granite_moe}), "block_sparse_moe"),
                        granite_fused),
      with_alternatives(like_llama("qwen2_moe", "Qwen2Moe", read_qwen2_moe,
                                   join({llama_frame, llama_ffn, mlp_experts, qwen2_shared})),
                        mlp_experts_fused),
      with_alternatives(like_llama("qwen3_moe", "Qwen3Moe", read_qwen3_moe,
                                   join({llama_frame, qk_norms, llama_ffn, mlp_experts})),
                        mlp_experts_fused),
      with_alternatives(
          like_llama("olmoe", "Olmoe", read_olmoe, join({llama_frame, qk_norms, mlp_experts})),
          mlp_experts_fused),
      with_alternatives(like_llama("deepseek_v2", "DeepseekV2", read_deepseek_v2, deepseek_rules),
                        mlp_experts_fused),
      // Layer 61 is for multi-token prediction and is ignored, as in transformers.
      with_alternatives(like_llama("deepseek_v3", "DeepseekV3", read_deepseek_v3, deepseek_rules,
                                   "mlp", {"*.rotary_emb.inv_freq", "model.layers.61.*"}),
                        mlp_experts_fused),
      {"gpt2",
       "GPT2LMHeadModel",
       "GPT2Config",
       read_gpt2,
       join({gpt2_rules}),
       {"*h.*.attn.bias", "*h.*.attn.masked_bias"},
       "transformer.",
       "transformer.h",
       "mlp"},
      {"opt",
       "OPTForCausalLM",
       "OPTConfig",
       read_opt,
       join({opt_rules}),
       {"*.version"},
       "model.",
       "model.decoder.layers",
       "fc1",
       /*ffn_in_layer=*/true},
  };
  return rows;
}

}  // namespace

std::span<const Family> families() {
  return table();
}

}  // namespace moebius
