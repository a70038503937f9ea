// The loss primitive of every kind of training: log-probabilities of given tokens.
#pragma once

#include <ATen/core/Tensor.h>

namespace moebius::ops {

/// log softmax(scale scores_NV)[n, targets_N[n]] of every row n: f64 [N], with gradients to the
/// scores. Cross entropy is minus its weighted mean; preference losses, PPO and distillation start
/// from it too. targets_N are int64 in [0, V), which is checked. Computed in f32 from scores of any
/// float type, of which no copy is made on the CPU; gradients have the type of the scores.
at::Tensor token_log_probs(const at::Tensor& scores_NV, const at::Tensor& targets_N, double scale);

}  // namespace moebius::ops
