// Evaluation of token ids with models that are already open.
#pragma once

#include <span>

#include "eval/evaluate.h"
#include "infer/backends/inference_model.h"

namespace moebius {

/// Cuts `ids` into windows of `context` tokens, each computed without the others; a last window
/// counts if it has at least two tokens. `reference` may be null.
EvalResult evaluate_ids(InferenceModel& model, std::span<const std::int32_t> ids,
                        std::int64_t context, InferenceModel* reference, const Context& ctx);

/// The result of several texts together: means weighted by their tokens.
EvalResult merge_results(std::span<const EvalResult> results);

}  // namespace moebius
