// What a conversion is, before any of it is done.
#pragma once

#include <optional>

#include "convert/output_plan.h"
#include "text/tokenizer.h"

namespace moebius {

/// Options and source, checked, and a recipe for each layer that is to be converted. Throws Error
/// or UsageError naming the option, file or layer.
struct PreparedConversion {
  Source source;
  std::vector<std::int64_t> layers;    ///< ascending
  std::optional<Tokenizer> tokenizer;  ///< the source's, where it has one
  Recipes recipes;

  PreparedConversion(const ConvertOptions& options, const Context& ctx);
};

}  // namespace moebius
