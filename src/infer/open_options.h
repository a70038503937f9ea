#pragma once

#include "infer/weight_options.h"

namespace moebius {

/// What is needed to open a model. The device and the number of threads are in `Context`.
struct OpenOptions : WeightOptions {
  fs::path model;  ///< directory, GGUF file, or org/name on the hub

  void declare(OptionSet& options);
};

}  // namespace moebius
