// Estimates what fits into the memory and time of this machine, before training starts.
#pragma once

#include <cstdint>
#include <string>

#include "config/model_spec.h"

namespace moebius {

/// A plan for further training, and the reason where it is smaller than wanted.
struct TrainingBudget {
  std::string train;  ///< "all", "router", or empty: nothing can be trained
  std::int64_t steps = 0;
  std::int64_t bytes = 0;  ///< estimated need
  std::int64_t available = 0;
  std::string reason;
};

/// Plans at most `wanted` steps within `seconds`. `forward_seconds` is the time of a forward pass
/// over one batch; a step is estimated as three times that. Training all weights takes 16 bytes per
/// parameter (weights, gradients and two moments in f32), routers alone 4.
TrainingBudget plan_training(const ModelSpec& spec, std::int64_t tokens_per_batch,
                             double forward_seconds, double seconds, std::int64_t wanted,
                             std::int64_t available);

}  // namespace moebius
