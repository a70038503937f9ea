#pragma once

#include <string>

#include "config/options.h"

namespace moebius {

/// What to compute with, as commands that open a model have it.
struct WeightOptions {
  std::string weights;   ///< "f32", "bf16", "int8", "int4"; empty: as stored
  bool verify = false;   ///< compare digests of packed files
  std::string kv_cache;  ///< "f32", "bf16", "int8"; empty: as suits the weights

  bool quantised() const { return weights == "int8" || weights == "int4"; }
  void declare(OptionSet& options);
};

}  // namespace moebius
