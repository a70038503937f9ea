// Parts of rows of the table of families: names of weights, and readers of configuration keys.
#pragma once

#include <initializer_list>
#include <span>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "config/families.h"

namespace moebius {

constexpr std::int64_t max_size = std::int64_t{1} << 31;  ///< of any dimension
constexpr std::int64_t max_layers = 1 << 12, max_experts = 1 << 16;

// ---- Names -----------------------------------------------------------------------------------

inline constexpr NameRule llama_frame[] = {
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
inline constexpr NameRule qk_norms[] = {
    {"layers.{l}.attn.q_norm.weight", "model.layers.{l}.self_attn.q_norm.weight"},
    {"layers.{l}.attn.k_norm.weight", "model.layers.{l}.self_attn.k_norm.weight"},
};
inline constexpr NameRule llama_ffn[] = {
    {"layers.{l}.ffn.gate.weight", "model.layers.{l}.mlp.gate_proj.weight"},
    {"layers.{l}.ffn.gate.bias", "model.layers.{l}.mlp.gate_proj.bias"},
    {"layers.{l}.ffn.up.weight", "model.layers.{l}.mlp.up_proj.weight"},
    {"layers.{l}.ffn.up.bias", "model.layers.{l}.mlp.up_proj.bias"},
    {"layers.{l}.ffn.down.weight", "model.layers.{l}.mlp.down_proj.weight"},
    {"layers.{l}.ffn.down.bias", "model.layers.{l}.mlp.down_proj.bias"},
};
/// Experts inside `mlp`, as OLMoE and Qwen have them.
inline constexpr NameRule mlp_experts[] = {
    {"layers.{l}.moe.router.weight", "model.layers.{l}.mlp.gate.weight"},
    {"layers.{l}.moe.experts.gate.weight", "model.layers.{l}.mlp.experts.{e}.gate_proj.weight"},
    {"layers.{l}.moe.experts.up.weight", "model.layers.{l}.mlp.experts.{e}.up_proj.weight"},
    {"layers.{l}.moe.experts.down.weight", "model.layers.{l}.mlp.experts.{e}.down_proj.weight"},
};
/// The same experts fused: [E, 2F, D] and [E, D, F].
inline constexpr NameRule mlp_experts_fused[] = {
    {"layers.{l}.moe.experts.gate.weight", "model.layers.{l}.mlp.experts.gate_up_proj"},
    {"layers.{l}.moe.experts.up.weight", "model.layers.{l}.mlp.experts.gate_up_proj"},
    {"layers.{l}.moe.experts.down.weight", "model.layers.{l}.mlp.experts.down_proj"},
};
std::vector<NameRule> join(std::initializer_list<std::span<const NameRule>> parts);

// ---- Configurations --------------------------------------------------------------------------

/// Throws Error on an activation that is not known.
Activation activation_from(const JsonView& config, std::string_view key, std::string_view fallback);

/// Reads `rope_parameters` of transformers 5, or `rope_theta` and `rope_scaling`. Extends
/// `spec.context` by the scaling's factor. Throws Error on an unknown kind.
void read_rope(const JsonView& config, ModelSpec& spec, double default_theta);

/// 1 + 0.1 mscale ln(factor), DeepSeek's YaRN attention factor for an extension by `factor`.
double attention_mscale(double factor, double mscale);

/// Defaults of a configuration class in transformers.
struct LlamaDefaults {
  double norm_eps = 1e-6, rope_theta = 1e4;
  std::int64_t kv_heads = 0;  ///< 0: as many as heads
  std::int64_t context = 2048;
  std::int64_t head_dim = 0;  ///< 0: d_model / heads
};

/// Reads the keys of a Llama-like model but for attention: sizes, layers, RMS norm, gated FFN, tie.
void read_llama_frame(const JsonView& c, ModelSpec& spec, const LlamaDefaults& defaults);

/// Reads all keys of a Llama-like model, attention and rotary positions included.
void read_llama_skeleton(const JsonView& c, ModelSpec& spec, const LlamaDefaults& defaults);

/// Reads Granite's factors on embeddings, attention scores, residual branches and logits.
void read_granite_factors(const JsonView& c, ModelSpec& spec);

/// Gives `window` to the layers that `layer_types` lists as "sliding_attention", or, without that
/// key, to those for which `sliding` is true.
void read_windows(const JsonView& c, ModelSpec& spec, std::int64_t window,
                  bool (*sliding)(const JsonView& config, std::int64_t layer));

/// Keys of an MoE layer: number and width of experts, and normalisation of their weights.
struct MoeKeys {
  std::string_view experts, width;
  bool norm_topk_prob;  ///< whether norm_topk_prob decides about renormalisation; else it is done
};
MoeSpec read_moe(const JsonView& c, const MoeKeys& keys);

/// Makes every layer an MoE but those that `mlp_only_layers` and `decoder_sparse_step` keep dense,
/// and reads the coefficient of the balance loss, `balance` if the key is absent.
void place_moe(const JsonView& c, ModelSpec& spec, const MoeSpec& moe, double balance = 0.001);

}  // namespace moebius
