// A model in training: what gradients are computed with, and what the optimiser updates.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "model/load.h"
#include "train/parameters.h"

namespace moebius {

/// How training computes and what it keeps in memory.
enum class Precision {
  f32,    ///< everything in f32
  mixed,  ///< computes with a copy in bf16; master weights and optimiser state in f32
  bf16    ///< everything in bf16: small updates are lost to rounding
};

/// Throws UsageError for a name that is none of these.
Precision precision_from(std::string_view name);

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
