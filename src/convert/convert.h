// Conversion of a dense model into a mixture of experts, or of a mixture into another.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/context.h"
#include "checkpoint/companions.h"
#include "convert/convert_options.h"
#include "convert/layer_record.h"

namespace moebius {

struct ConversionReport {
  std::string source;
  Digests digests;
  std::vector<Digests> more_digests;  ///< of `sources`
  std::vector<LayerRecord> layers;
  double dense_exact = 0;  ///< max |logit difference| / max |logit| against the dense model, f32
  std::int64_t parameters = 0, active_parameters = 0;
  std::string architecture;  ///< class that opens the output in transformers
  std::string sample;        ///< the saved model's continuation of the test prompt
  std::uint64_t bytes = 0;   ///< weights written
  double seconds = 0;
};

/// Converts, tests layer by layer, writes `options.out` atomically and opens it again.
ConversionReport convert(const ConvertOptions& options, const Context& ctx);

}  // namespace moebius
