// What a conversion would produce, without doing it.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/context.h"
#include "config/weights.h"
#include "convert/convert_options.h"

namespace moebius {

/// What `convert` would produce.
struct ConversionForecast {
  std::vector<std::int64_t> layers;
  ModelCost source, result;
  std::uint64_t bytes = 0;        ///< of weights to be written
  std::optional<double> seconds;  ///< to write them at the disk's measured rate
};

/// Makes the checks of `convert` on options and sources, and writes nothing.
ConversionForecast forecast(const ConvertOptions& options, const Context& ctx);

}  // namespace moebius
