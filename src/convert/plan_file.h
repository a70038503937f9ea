// The options of each layer, from the command line or a plan file.
#pragma once

#include <string>
#include <vector>

#include "convert/convert_options.h"

namespace moebius {

/// Texts whose tokens an expert should get, and texts whose tokens it should not.
struct ExpertPrompts {
  std::vector<std::string> positive, negative;
};

/// One row of a plan: layers and their options.
struct LayerPlan {
  LayerOptions options;
  std::vector<std::int64_t> layers;    ///< ascending
  std::vector<ExpertPrompts> prompts;  ///< by expert; for `--router prompts`
  std::string where;                   ///< "FILE:LINE", empty for the command line
};

/// The rows of `options.plan`, with the command line's options as defaults; without a plan one row
/// with the layers of `--layers` or `--every`. Throws UsageError naming the file and line of
/// an unknown key, a wrong value, a layer that is named twice.
std::vector<LayerPlan> read_plan(const ConvertOptions& options, std::int64_t layer_count);

}  // namespace moebius
