// The description of a decoder. Code that computes, loads, saves, counts or converts a model reads
// this and nothing else of a configuration.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/dtype.h"
#include "kernels/types.h"

namespace moebius {

enum class NormKind { rms, layer };
enum class PositionKind { rope, learned };
using kernels::Activation;
/// RMS norm of queries and keys before rotation: none, over each head (Qwen3), or over all heads
/// together (OLMoE).
enum class QkNorm { none, head, all };

/// How rotary frequencies are scaled for contexts longer than those of training. Names of fields
/// are those of configurations of transformers.
enum class RopeScaling {
  none,     ///< named "default"
  linear,   ///< every frequency divided by `factor`
  dynamic,  ///< a larger base once the sequence is longer than `original_context` (NTK)
  llama3,   ///< low frequencies divided, high ones kept, smooth between
  yarn,     ///< Peng et al., 2023
};
struct RopeSpec {
  double theta = 10000.0;
  RopeScaling scaling = RopeScaling::none;
  double factor = 1.0;
  std::int64_t original_context = 0;                     ///< tokens, before scaling
  double low_freq_factor = 1.0, high_freq_factor = 4.0;  ///< llama3
  double beta_fast = 32.0, beta_slow = 1.0;              ///< yarn
  bool truncate = true;                                  ///< yarn
  double attention_factor = 1.0;                         ///< yarn: factor on cos and sin
  double mscale_all_dim = 0.0;  ///< DeepSeek: of any kind, see `attention_mscale`
  bool interleaved = false;     ///< pairs are neighbouring elements, not the halves of a head
};

/// Multi-head latent attention (DeepSeek-V2, 2024): keys and values of all heads are projections of
/// one normed latent per token; the last P dimensions of queries and keys are rotated, and those of
/// keys are shared by all heads.
struct LatentSpec {
  std::int64_t q_rank = 0;     ///< Q, width of the queries' latent; 0: they are projections of x
  std::int64_t kv_rank = 0;    ///< R, width of the latent of keys and values
  std::int64_t rope_dim = 0;   ///< P
  std::int64_t value_dim = 0;  ///< of a head's value
  double norm_eps = 1e-6;      ///< of the norms of latents
};

/// How the router computes scores of a token x_D: `linear` is router_ED x_D (+ bias_E); `neurons`
/// is |act(router_ED x_D) * up_ED x_D|, the activation of one neuron of each expert (Pei et al.,
/// 2025, CMoE), without the second factor in an FFN without gate.
enum class RouterScores { linear, neurons };

using kernels::RouterWeights;

/// Restricts the choice of experts to `kept` of `groups` groups of consecutive ones, those with the
/// largest sums of their `best` largest scores.
struct GroupLimit {
  std::int64_t groups = 1, kept = 1, best = 1;
  bool operator==(const GroupLimit&) const = default;
};

/// One MoE layer.
struct MoeSpec {
  std::int64_t experts = 0;  ///< E
  std::int64_t top_k = 0;    ///< K
  std::int64_t width = 0;    ///< F, of one expert
  RouterScores scores = RouterScores::linear;
  RouterWeights weights = RouterWeights::softmax_renorm;
  /// Experts [g E/groups, (g+1) E/groups) form group g and are chosen together, by the sum of
  /// their scores; K is a multiple of E/groups. groups = E is the ordinary choice.
  std::int64_t groups = 0;
  GroupLimit limit;
  bool corrected = false;         ///< experts are chosen by sigmoid(score) + correction_E
  double weight_factor = 1.0;     ///< on the weights of the chosen
  std::int64_t shared_width = 0;  ///< width of the shared expert, 0 for none
  bool shared_gate = false;       ///< the shared expert is multiplied by sigmoid(gate_D . x_D)
  bool router_bias = false;       ///< scores have a bias
  bool bias_once = false;         ///< down's bias is added once, not by every expert

  std::int64_t group_size() const { return experts / groups; }
  bool operator==(const MoeSpec&) const = default;
};

/// One layer: a dense FFN of `width`, or an MoE.
struct LayerSpec {
  std::int64_t width = 0;  ///< F of the dense FFN; of the source where the layer was converted
  std::optional<MoeSpec> moe;
  bool overlay = false;     ///< the MoE was written by moebius in place of a dense FFN
  std::int64_t window = 0;  ///< tokens that attention sees, itself included; 0: all
};

/// How weight files hold the experts of a layer: one tensor per matrix and expert, or fused, one
/// 3-D tensor for gate and up and one for down of all experts. `usual` is what transformers writes
/// for the family by default.
enum class ExpertLayout { usual, fused, separate };

/// A decoder-only transformer. Shapes: D d_model, H heads, G kv_heads, A head_dim (of queries and
/// keys), V vocab.
struct ModelSpec {
  std::string family;    ///< model_type of the row of the table of families, for example "llama"
  bool overlay = false;  ///< written by moebius: a dense family with MoE layers
  std::int64_t vocab = 0, d_model = 0, heads = 0, kv_heads = 0, head_dim = 0;
  std::int64_t embed_dim = 0;  ///< of a token's embedding; projected to d_model where it differs
  std::optional<LatentSpec> latent;
  std::int64_t context = 0;  ///< longest sequence, in tokens
  std::vector<LayerSpec> layers;

  NormKind norm = NormKind::rms;
  double norm_eps = 1e-5;
  bool post_norm = false;  ///< norms follow the residual sum rather than precede the branch
  bool final_norm = true;
  PositionKind position = PositionKind::rope;
  RopeSpec rope;
  std::int64_t position_offset = 0;  ///< row of the learned table that holds position 0
  QkNorm qk_norm = QkNorm::none;
  double clip_qkv = 0.0;  ///< bound on queries, keys and values; 0 for none
  Activation activation = Activation::silu;
  bool gated = true;      ///< down(act(gate x) * up x) rather than down(act(up x))
  bool qkv_bias = false;  ///< with latents: of the projections into them
  bool o_bias = false, mlp_bias = false;
  bool tied = false;  ///< the head is the embedding

  double embedding_multiplier = 1.0;
  double attention_scale = 0.0;  ///< factor on q.k, by default 1/sqrt(head_dim)
  double residual_multiplier = 1.0;
  double logits_divisor = 1.0;
  double balance_coefficient = 0.0;  ///< of the training loss, as the configuration has it

  DType dtype = DType::f32;  ///< of stored weights, according to the configuration
  ExpertLayout expert_layout = ExpertLayout::usual;  ///< of weight files written from this
  double initializer_range = 0.02;                   ///< standard deviation of fresh matrices
  std::optional<std::int64_t> bos;
  std::vector<std::int64_t> eos;  ///< the first one also separates documents
  bool stops_at_eos = true;       ///< whether generation ends at one of `eos`

  std::int64_t rotary_dim() const { return latent ? latent->rope_dim : head_dim; }
};

std::string_view name_of(RopeScaling scaling);
std::string_view name_of(RouterScores scores);
std::string_view name_of(RouterWeights weights);
/// Throw Error naming `where` on a name that is not known.
RopeScaling rope_scaling_from(std::string_view name, std::string_view where);
RouterScores router_scores_from(std::string_view name, std::string_view where);
RouterWeights router_weights_from(std::string_view name, std::string_view where);

/// "fused" or "separate"; empty for the usual one. Throws UsageError naming --expert-layout.
ExpertLayout expert_layout_from(std::string_view name);

/// `max_position_embeddings` of the configuration: the context before scaling of rotary positions,
/// for the kinds that extend it.
std::int64_t stated_context(const ModelSpec& spec);

/// Throws Error naming `where` if fields contradict each other: K > E, groups that do not divide E,
/// K that is no multiple of a group or more than the kept groups have.
void check_moe(const MoeSpec& moe, std::string_view where);

}  // namespace moebius
