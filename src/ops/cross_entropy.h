// The loss of language models.
#pragma once

#include <ATen/core/Tensor.h>

namespace moebius::ops {

/// The mean over rows of -log softmax(scale scores_NV)[target], f32, for targets_N int64 in [0, V),
/// which are checked. Computed in f32 from scores of any type, of which no copy is made on the CPU;
/// their gradients are of their type.
at::Tensor cross_entropy(const at::Tensor& scores_NV, const at::Tensor& targets_N, double scale);

}  // namespace moebius::ops
