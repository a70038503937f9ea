// Routers from prompts: an expert gets tokens that are similar to those of its texts.
#pragma once

#include "convert/output_plan.h"
#include "convert/plan_file.h"
#include "text/tokenizer.h"

namespace moebius {

/// Rows [E, D] of the routers of `plan.layers`, by layer: the direction of the mean router input
/// over the tokens of an expert's positive prompts minus that over its negative ones. Special
/// tokens that the tokenizer adds are not counted. Throws Error unless there are prompts for each
/// expert; warns of experts whose prompts hardly differ.
std::map<std::int64_t, std::vector<float>> prompt_routers(const Source& source,
                                                          const Tokenizer& tokenizer,
                                                          const LayerPlan& plan,
                                                          const Context& ctx);

}  // namespace moebius
