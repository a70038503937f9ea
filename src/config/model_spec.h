// What a decoder is, as data. Everything that computes, loads, saves, counts or converts a model
// reads this and nothing else of a configuration.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/dtype.h"

namespace moebius {

enum class NormKind { rms, layer };
enum class PositionKind { rope, learned };
enum class Activation { silu, gelu_tanh, gelu_erf, relu };

/// How the router's scores arise from a token x_D: `linear` is logits_E = router_ED x_D.
enum class RouterScores { linear };

/// How the K chosen experts are weighted, s being the scores of all E experts:
/// `softmax_renorm` softmax over the chosen (Mixtral, Granite), `softmax` over all E and kept,
/// `sigmoid` of each score, `one` for a plain sum.
enum class RouterWeights { softmax_renorm, softmax, sigmoid, one };

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
  std::int64_t shared_width = 0;  ///< width of the FFN that every token passes, 0 for none

  std::int64_t group_size() const { return experts / groups; }
};

/// One layer: a dense FFN of `width`, or an MoE.
struct LayerSpec {
  std::int64_t width = 0;  ///< F of the dense FFN; of the source where the layer was converted
  std::optional<MoeSpec> moe;
};

/// A decoder-only transformer. Shapes: D d_model, H heads, G kv_heads, A head_dim, V vocab.
struct ModelSpec {
  std::string family;    ///< row of the table of families, for example "llama"
  bool overlay = false;  ///< written by moebius: MoE layers laid over a dense family
  std::int64_t vocab = 0, d_model = 0, heads = 0, kv_heads = 0, head_dim = 0;
  std::int64_t context = 0;  ///< longest sequence, in tokens
  std::vector<LayerSpec> layers;

  NormKind norm = NormKind::rms;
  double norm_eps = 1e-5;
  PositionKind position = PositionKind::rope;
  double rope_theta = 10000.0;
  Activation activation = Activation::silu;
  bool gated = true;  ///< down(act(gate x) * up x) rather than down(act(up x))
  bool qkv_bias = false, o_bias = false, mlp_bias = false;
  bool tied = false;  ///< the head is the embedding

  double embedding_multiplier = 1.0;
  double attention_scale = 0.0;  ///< factor on q.k, by default 1/sqrt(head_dim)
  double residual_multiplier = 1.0;
  double logits_divisor = 1.0;
  double balance_coefficient = 0.0;  ///< of the training loss, as the configuration has it

  DType dtype = DType::f32;         ///< as the configuration says the weights are stored
  double initializer_range = 0.02;  ///< standard deviation of fresh matrices
  std::optional<std::int64_t> bos;
  std::vector<std::int64_t> eos;
};

std::string_view name_of(RouterWeights weights);
std::string_view name_of(RouterScores scores);
/// Throw Error naming `where` on a name that is not known.
RouterWeights router_weights_from(std::string_view name, std::string_view where);
RouterScores router_scores_from(std::string_view name, std::string_view where);

/// Throws Error naming `where` if the parts contradict each other: K > E, groups that do not
/// divide E, K that would cut a group.
void check_moe(const MoeSpec& moe, std::string_view where);

}  // namespace moebius
