#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "train/run.h"

namespace moebius {

/// A weight that trains. `name` is its slot. Where the model computes with a copy in bf16, `master`
/// is what that is a copy of, in f32.
struct Parameter {
  std::string name;
  at::Tensor value;
  bool decay = true;
  at::Tensor master;
};

/// AdamW over all parameters at once; its means, which checkpoints include, are of the type of the
/// master, or of the value where there is none.
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
  void update(std::size_t parameter, double lr, double scale, const at::Tensor& gradient);

  std::vector<Parameter> parameters_;
  OptimizerOptions options_;
  std::vector<at::Tensor> moment1_, moment2_;
  at::Tensor count_;  ///< f32 scalar on the CPU: steps done
};

}  // namespace moebius
