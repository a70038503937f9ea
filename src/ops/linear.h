// Matrix products with a weight, whatever the weight is stored as.
#pragma once

#include <ATen/core/Tensor.h>

#include "config/model_spec.h"
#include "ops/weight.h"

namespace moebius::ops {

/// x [..., in] times w [out, in] transposed, plus bias [out] where defined. A weight stored in
/// another dtype than x is widened or narrowed for the product: so a bf16 checkpoint computes in
/// f32 without ever being held in f32. A packed weight multiplies f32 or bf16 on the CPU and is
/// frozen: x gets the gradient of the product with the dequantised weight (straight through the
/// rounding of activations), w gets none. Throws Error if the inner dimensions differ.
at::Tensor linear(const at::Tensor& x, const Weight& w, const at::Tensor& bias = {});

/// Rows of w [V, D] for ids [...], in `dtype`.
at::Tensor embedding(const at::Tensor& ids, const at::Tensor& w, at::ScalarType dtype);

at::Tensor activate(const at::Tensor& x, Activation activation);

}  // namespace moebius::ops
