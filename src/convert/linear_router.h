// The linear router of a split.
#pragma once

#include <ATen/core/Tensor.h>

namespace moebius {

/// `--router linear` of a split: scores weight x + bias, fitted so that the K experts with the
/// largest outputs have the largest scores.
struct LinearRouter {
  at::Tensor weight_ED, bias_E;  ///< f32
};

/// Fits linear routers to one set of tokens.
class LinearRouterFit {
 public:
  explicit LinearRouterFit(const at::Tensor& x_TD);

  /// Ridge regression of norms_TE, the norm of each expert's output, on the inputs, then a hundred
  /// steps of training on the choice: logistic regression of whether an expert is among the K of a
  /// token, on the distance of its score from the threshold between chosen and not, weighted by the
  /// distance of its norm from the norms' threshold. The last eighth of the tokens selects the
  /// step.
  LinearRouter fit(const at::Tensor& norms_TE, std::int64_t top_k) const;

 private:
  LinearRouter ridge(const at::Tensor& y_TE) const;

  at::Tensor mean_D_, deviation_D_, z_TD_;            // z = (x - mean) / deviation
  at::Tensor z_mean_D_, centred_TD_, covariance_DD_;  // of z, in f64
};

}  // namespace moebius
