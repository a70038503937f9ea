// What a machine can train in a given time, estimated before it is tried.
#pragma once

#include <cstdint>
#include <string>

#include "config/model_spec.h"

namespace moebius {

/// A plan for training on, and why it is no larger.
struct TrainingBudget {
  std::string train;  ///< "all", "router", or empty: nothing can be trained
  std::int64_t steps = 0;
  std::int64_t bytes = 0;  ///< estimated need
  std::int64_t available = 0;
  std::string reason;
};

/// `forward_seconds` of one batch of the model. Training everything takes 16 bytes a parameter
/// (weights, gradients and two moments in f32), routers alone 4; a step takes three times a
/// forward pass. Steps are bounded by `wanted` and by `seconds`.
TrainingBudget plan_training(const ModelSpec& spec, std::int64_t tokens_per_batch,
                             double forward_seconds, double seconds, std::int64_t wanted,
                             std::int64_t available);

}  // namespace moebius
