// A model in training: what gradients are computed with, and what the optimiser updates.
#pragma once

#include <string>
#include <vector>

#include "model/load.h"
#include "train/loop_options.h"
#include "train/parameters.h"

namespace moebius {

/// With mixed precision `computed` is a copy in bf16 of the model, else it shares the model's
/// tensors.
struct TrainableModel {
  Model computed;
  std::vector<Parameter> parameters;

  /// `train` and `groups` as in `trained_parameters`.
  TrainableModel(Model& model, const std::string& train, const std::vector<std::string>& groups,
                 Precision precision);
  /// Copies the model into `computed`, after the model was restored from a checkpoint.
  void refresh(const Model& model);
};

}  // namespace moebius
