// What a pass has to do at least, counted from a model's weights as they are stored.
#pragma once

#include "infer/inference.h"
#include "kernels/panel_layout.h"
#include "model/load.h"

namespace moebius {

struct PassCost {
  double flops = 0;  ///< 2 for each weight a token meets, and attention's products
  double bytes = 0;  ///< of weights, each read once, and of keys and values
};

/// FLOPs of a pass over `count` new tokens of each of `sequences`, which have `past` behind them,
/// of which the scores of `scored` are asked for.
double flops_of_pass(const ModelSpec& spec, const Weights& weights, std::int64_t sequences,
                     std::int64_t past, std::int64_t count, std::int64_t scored);

/// A pass over `count` new tokens of each of `sequences`, which have `past` behind them, with the
/// scores of the last one of each. `visits` are the distinct experts that tokens went to, summed
/// over layers.
PassCost cost_of_pass(InferenceModel& model, std::int64_t sequences, std::int64_t past,
                      std::int64_t count, double visits);

}  // namespace moebius
