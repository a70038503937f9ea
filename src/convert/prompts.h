// Routers from prompts: an expert gets the tokens that look like those of its texts.
#pragma once

#include "convert/output_plan.h"
#include "convert/plan_file.h"
#include "text/tokenizer.h"

namespace moebius {

/// Rows [E, D] of the routers of `plan.layers`, by layer: towards the mean router input over the
/// tokens of an expert's positive prompts, less that over its negative ones. Special tokens that
/// the tokenizer adds do not count. Throws Error unless there are prompts for each expert; warns of
/// experts whose prompts hardly differ.
std::map<std::int64_t, std::vector<float>> prompt_routers(const Source& source,
                                                          const Tokenizer& tokenizer,
                                                          const LayerPlan& plan,
                                                          const Context& ctx);

}  // namespace moebius
