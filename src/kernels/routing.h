// Routing: the experts of each token with their weights, and the tokens of each expert. The E
// scores of a token are few, so this is scalar code, one for all instruction sets.
#pragma once

#include <cstdint>

#include "kernels/types.h"

namespace moebius::kernels {

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
/// is that of `one_plus`. `work` is scratch of 3 E values.
void route(const RoutingRule& rule, const float* logits, std::int64_t tokens,
           const float* correction, const float* scale, float* work, std::int32_t* ids,
           float* weights);

/// Weights [T, K] of experts ids [T, K], from logits [T, E], as the rule says; see
/// router_weighting.h. What `route` gives for the ids that it chooses.
void weigh(const RoutingRule& rule, const float* logits, std::int64_t tokens, const float* scale,
           const std::int32_t* ids, float* weights);

/// Backward pass of `weigh`; a token's ids are distinct.
struct WeighBackward {
  RoutingRule rule;
  std::int64_t tokens;
  const float *logits, *scale;  ///< as for `weigh`
  const float* dweights;        ///< [T, K]
  const std::int32_t* ids;      ///< [T, K]
  float* dlogits;               ///< [T, E], zero before
  float* dscale;                ///< [E], added to; null if nobody asks
};
void weigh_backward(const WeighBackward& args);

/// The assignments sorted by expert, tokens in order inside an expert: offsets [E + 1], and of each
/// of the T K sorted rows its token and its weight. `places`, if not null, gets the sorted row of
/// each assignment.
void sort_by_expert(const RoutingRule& rule, const std::int32_t* ids, const float* weights,
                    std::int64_t tokens, std::int64_t* offsets, std::int32_t* rows,
                    float* row_weights, std::int64_t* places = nullptr);

}  // namespace moebius::kernels
