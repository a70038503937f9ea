// What is to be done to which layer: by the command line alone, or by a plan file.
#pragma once

#include <string>
#include <vector>

#include "convert/convert_options.h"

namespace moebius {

/// Texts whose tokens an expert is to get, and such as it is not to get.
struct ExpertPrompts {
  std::vector<std::string> positive, negative;
};

/// What one row of a plan says about the layers that it names.
struct LayerPlan {
  LayerOptions options;
  std::vector<std::int64_t> layers;    ///< ascending
  std::vector<ExpertPrompts> prompts;  ///< by expert; for `--router prompts`
  std::string where;                   ///< "FILE:LINE", empty for the command line
};

/// The rows of `options.plan`, what they leave open as on the command line; without a plan one row
/// of the layers that `--layers` or `--every` choose. Throws UsageError naming the file and line of
/// an unknown key, a wrong value, a layer that is named twice.
std::vector<LayerPlan> read_plan(const ConvertOptions& options, std::int64_t layer_count);

}  // namespace moebius
