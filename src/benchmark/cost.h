// Lower bounds of the FLOPs and bytes of a pass, counted from a model's weights as they are stored.
#pragma once

#include "infer/backends/inference_model.h"
#include "kernels/panel_layout.h"
#include "model/load.h"

namespace moebius {

struct PassCost {
  double flops = 0;  ///< 2 for each weight that a token is multiplied with, and attention's
  double bytes = 0;  ///< of weights, each read once, and of keys and values
};

/// FLOPs of a pass over `count` new tokens of each of `sequences`, after `past` tokens that are
/// cached, with the scores of `scored` tokens.
double flops_of_pass(const ModelSpec& spec, const Weights& weights, std::int64_t sequences,
                     std::int64_t past, std::int64_t count, std::int64_t scored);

/// Cost of a pass over `count` new tokens of each of `sequences`, after `past` tokens that are
/// cached, with the scores of the last token of each. `visits`: distinct experts of the pass,
/// summed over layers.
PassCost cost_of_pass(InferenceModel& model, std::int64_t sequences, std::int64_t past,
                      std::int64_t count, double visits);

}  // namespace moebius
