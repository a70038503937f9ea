// How much each chosen expert counts, from the router's logits.
#pragma once

#include <ATen/core/Tensor.h>

#include "kernels/types.h"

namespace moebius::ops {

/// Weights [T, K] in the type of the logits: those of experts ids [T, K] (int64) as `kind` says
/// (kernels/router_weighting.h), from logits [T, E], times `factor`. `scale` [E] is the learned one
/// of `one_plus`, else undefined. With gradients to logits and scale: f32 on the CPU in one
/// operation, other types and devices in ATen's. Throws Error where a shape or an id is wrong.
at::Tensor router_weights(const at::Tensor& logits_TE, const at::Tensor& ids_TK,
                          kernels::RouterWeights kind, const at::Tensor& scale_E = {},
                          double factor = 1.0);

}  // namespace moebius::ops
