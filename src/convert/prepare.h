// A conversion before it writes: checked options, opened sources, recipes.
#pragma once

#include <map>
#include <optional>

#include "convert/output_plan.h"
#include "text/tokenizer.h"

namespace moebius {

/// Checked options and sources, and the recipe of each layer to convert. Throws Error or UsageError
/// naming the option, file or layer.
struct PreparedConversion {
  Sources sources;
  std::optional<Tokenizer> tokenizer;  ///< of the first source, where it has one
  std::vector<std::int64_t> layers;    ///< ascending
  Recipes recipes;
  std::map<std::int64_t, std::string> methods;  ///< of each of `layers`

  PreparedConversion(const ConvertOptions& options, const Context& ctx);
};

}  // namespace moebius
