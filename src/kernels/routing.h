// Which experts a token goes to and how much each counts, and the tokens of each expert. The E
// scores of a token are few, so this is scalar code, the same everywhere.
#pragma once

#include <cstdint>

namespace moebius::kernels {

/// How the K chosen experts are weighted, s being the scores of all E experts:
/// `softmax_renorm` softmax over the chosen (Mixtral, Granite), `softmax` over all E and kept,
/// `sigmoid` of each score, `sigmoid_renorm` that over the sum of the chosen, `one` for a plain
/// sum, `one_plus` 1 + u_e softmax(s)_e with a learned u_E that starts at 0: a plain sum from which
/// training can depart.
enum class RouterWeights { softmax_renorm, softmax, sigmoid, sigmoid_renorm, one, one_plus };

/// As in `MoeSpec`: groups of `group_size` neighbours are chosen whole, by the sum of their scores;
/// or, of `limit_groups` groups only the `limit_kept` with the largest sums of their `limit_best`
/// best are chosen from.
struct RoutingRule {
  std::int64_t experts = 0, top_k = 0, group_size = 1;
  std::int64_t limit_groups = 1, limit_kept = 1, limit_best = 1;
  RouterWeights kind = RouterWeights::softmax_renorm;
  float factor = 1.0f;  ///< on the weights
};

/// Logits [T, E] to ids [T, K], the best first and among equals the lower number, and weights
/// [T, K]. `correction` [E], or null, is added to sigmoid(logit) for the choice alone; `scale` [E]
/// is that of `one_plus`. `work` has room for 3 E values.
void route(const RoutingRule& rule, const float* logits, std::int64_t tokens,
           const float* correction, const float* scale, float* work, std::int32_t* ids,
           float* weights);

/// The assignments sorted by expert, tokens in order inside an expert: offsets [E + 1], and of each
/// of the T K sorted rows its token and its weight. `places`, if not null, gets the sorted row of
/// each assignment.
void sort_by_expert(const RoutingRule& rule, const std::int32_t* ids, const float* weights,
                    std::int64_t tokens, std::int64_t* offsets, std::int32_t* rows,
                    float* row_weights, std::int64_t* places = nullptr);

}  // namespace moebius::kernels
