#include "infer/weight_options.h"

namespace moebius {

void WeightOptions::declare(OptionSet& options) {
  options.choice("weights", weights, "what to compute with (default: as stored)",
                 {"f32", "bf16", "int8", "int4"});
  options.choice("kv-cache", kv_cache,
                 "what keys and values are kept in (default: bf16; f32 beside weights in f32)",
                 {"f32", "bf16", "int8"});
  options.add("verify", verify, "compare the digests of a model that was packed by quantize");
}

}  // namespace moebius
