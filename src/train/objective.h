// What is minimised. The loop knows no more of a task than this; language modelling, preference
// training and the like differ in batch and loss alone.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "model/load.h"

namespace moebius {

/// Loss of one batch, and what metrics are made of.
struct BatchLoss {
  at::Tensor total;               ///< what gradients flow from
  double loss = 0;                ///< without the router losses, nats a token
  double balance = 0;             ///< before its coefficient; 0 without MoE layers
  std::vector<Routing> routings;  ///< of the MoE layers, in order
  std::int64_t tokens = 0;
};

class Objective {
 public:
  virtual ~Objective() = default;
  /// Draws the next batch and computes its loss.
  virtual BatchLoss next(const Model& model) = 0;
  /// Where the data stands; `seek` to it resumes exactly there.
  virtual std::int64_t position() const = 0;
  virtual void seek(std::int64_t position) = 0;
};

}  // namespace moebius
