#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "train/run.h"

namespace moebius {

/// A weight that trains. `name` is its slot.
struct Parameter {
  std::string name;
  at::Tensor value;
  bool decay = true;
};

/// AdamW over all parameters at once, in f32, moments included in checkpoints.
class AdamW {
 public:
  AdamW(std::vector<Parameter> parameters, const OptimizerOptions& options);

  /// One update from the gradients that the parameters hold; then clears them. Returns the norm of
  /// all gradients before clipping. A gradient that never arose counts as zero.
  double step(double lr);

  const std::vector<Parameter>& parameters() const { return parameters_; }
  /// Moments and step count, by name: what a checkpoint holds beside the weights.
  std::vector<std::pair<std::string, at::Tensor>> state();

 private:
  void update(bool decay, double lr, const std::vector<at::Tensor>& gradients);

  std::vector<Parameter> parameters_;
  OptimizerOptions options_;
  std::vector<at::Tensor> moment1_, moment2_;
  at::Tensor count_;  ///< f32 scalar: steps done
};

}  // namespace moebius
