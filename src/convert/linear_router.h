// The router of a split that chooses by a linear function of the token.
#pragma once

#include <ATen/core/Tensor.h>

namespace moebius {

/// `--router linear` of a split: scores weight x + bias, after which the K experts are chosen that
/// add most. It begins as the ridge regression of norms_TE, the norm of what each expert adds to a
/// token, on the inputs x_TD, and is trained for a hundred steps on the choice itself: logistic
/// regression of whether an expert is among the K of a token, on how far its score is from the
/// border between chosen and not, weighted by how far its norm is from the norms' border: errors
/// count by what they cost. The last eighth of the tokens tells which step was best.
struct LinearRouter {
  at::Tensor weight_ED, bias_E;  ///< f32
};
LinearRouter fit_linear_router(const at::Tensor& x_TD, const at::Tensor& norms_TE,
                               std::int64_t top_k);

}  // namespace moebius
