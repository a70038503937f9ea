// Norms of activations.
#pragma once

#include <ATen/core/Tensor.h>

#include "config/model_spec.h"

namespace moebius::ops {

/// RMS norm (Zhang and Sennrich, 2019) or layer norm over the last dimension of x, times weight,
/// plus bias where there is one; computed in f32, of the type of x. One operation with gradients on
/// the CPU, of which nothing but x is kept.
at::Tensor norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                NormKind kind, double eps);

}  // namespace moebius::ops
