// Codes of weights that are chosen for the inputs which the weights meet (GPTQ, Frantar et al.
// 2023).
#pragma once

#include <ATen/core/Tensor.h>

#include "ops/weight.h"

namespace moebius {

/// How the errors of columns weigh on the product with inputs x [T, K]: the upper triangular U
/// [K, K], f32, for which U^T U is the inverse of x^T x, damped. Undefined without inputs.
at::Tensor error_factor(const at::Tensor& x_TK);

/// Codes int8 or int4 of w [N, K], of any float type. Column by column the nearest codes, of which
/// each passes the error that it makes on to the columns that come after it, as far as `factor`
/// says that they can make up for it. A group's scale is chosen when its columns are reached.
/// Without a factor every weight gets the nearest code.
QuantisedMatrix gptq(const at::Tensor& w_NK, const at::Tensor& factor, kernels::PackedType type,
                     std::int64_t group, Executor& executor);

}  // namespace moebius
