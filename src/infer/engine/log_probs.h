// Log-probabilities of tokens from the scores of one position.
#pragma once

#include <span>
#include <vector>

#include "infer/engine/request.h"

namespace moebius {

/// ln sum_v e^(scores_V[v]), by the kernels of the CPU.
double log_sum_exp(std::span<const float> scores_V);

/// The `count` largest scores minus `log_sum`, in descending order, ties by lower id.
std::vector<TokenLogProb> top_log_probs(std::span<const float> scores_V, double log_sum,
                                        std::int64_t count);

}  // namespace moebius
