// What turns gradients into updates of parameters.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "train/parameters.h"

namespace moebius {

class Optimizer {
 public:
  virtual ~Optimizer() = default;

  /// One update of all parameters from their gradients times `gradient_scale`, at the learning rate
  /// `lr` times each parameter's factor; then clears the gradients. A gradient that never arose
  /// counts as zero.
  virtual void step(double lr, double gradient_scale) = 0;

  virtual const std::vector<Parameter>& parameters() const = 0;
  /// What a checkpoint stores beside the weights, by name; restoring copies into these tensors.
  virtual std::vector<std::pair<std::string, at::Tensor>> state() = 0;
};

}  // namespace moebius
