// Evaluation with models that are already open.
#pragma once

#include <ATen/core/Tensor.h>

#include <span>

#include "eval/run.h"
#include "infer/inference.h"

namespace moebius {

/// Cuts `ids` into windows of `context` tokens, each on its own; a last window counts if it has two
/// tokens or more. `reference` may be null.
EvalResult evaluate_ids(InferenceModel& model, std::span<const std::int32_t> ids,
                        std::int64_t context, InferenceModel* reference, const Context& ctx);

/// Sums results of several texts, weighted by their tokens.
EvalResult merge_results(std::span<const EvalResult> results);

/// KL(p || q) in nats and whether both have the same argmax, by row of logits [N, V]: two f64 sums.
struct Divergence {
  double kl_sum = 0;
  std::int64_t agreements = 0;
};
Divergence divergence(const at::Tensor& reference_NV, const at::Tensor& model_NV);

}  // namespace moebius
