// The router of a split that chooses by a linear function of the token.
#pragma once

#include <ATen/core/Tensor.h>

namespace moebius {

/// `--router linear` of a split: scores weight x + bias, after which the K experts are chosen that
/// add most.
struct LinearRouter {
  at::Tensor weight_ED, bias_E;  ///< f32
};

/// Fits such routers to the same tokens.
class LinearRouterFit {
 public:
  explicit LinearRouterFit(const at::Tensor& x_TD);

  /// Begins with the ridge regression of norms_TE, the norm of what each expert adds to a token, on
  /// the inputs, and trains that for a hundred steps on the choice itself: logistic regression of
  /// whether an expert is among the K of a token, on how far its score is from the border between
  /// chosen and not, weighted by how far its norm is from the norms' border: errors count by what
  /// they cost. The last eighth of the tokens tells which step was best.
  LinearRouter fit(const at::Tensor& norms_TE, std::int64_t top_k) const;

 private:
  LinearRouter ridge(const at::Tensor& y_TE) const;

  at::Tensor mean_D_, deviation_D_, z_TD_;            // z = (x - mean) / deviation
  at::Tensor z_mean_D_, centred_TD_, covariance_DD_;  // of z, in f64
};

}  // namespace moebius
