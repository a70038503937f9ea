#pragma once

#include <string>

#include "config/options.h"

namespace moebius {

/// The types of weights and KV cache, as all commands have them that open a model for inference.
struct WeightOptions {
  std::string weights;   ///< "f32", "bf16", "int8", "int4"; empty: as stored
  bool verify = false;   ///< compare the digests of packed files
  std::string kv_cache;  ///< "f32", "bf16", "int8"; empty: by the type of the weights

  bool quantised() const { return weights == "int8" || weights == "int4"; }
  void declare(OptionSet& options);
};

}  // namespace moebius
