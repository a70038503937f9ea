#include "convert/linear_router.h"

#include <ATen/ATen.h>

#include <cmath>
#include <limits>
#include <utility>

namespace moebius {
namespace {

/// At least `least`, which is also the deviation of a single value.
at::Tensor at_least(const at::Tensor& deviation, double least) {
  return deviation.nan_to_num(0).clamp_min(least);
}

/// The threshold between the K experts that a token chooses and the others.
struct Border {
  at::Tensor ids_T2;     ///< the last chosen and the first not chosen
  at::Tensor middle_T1;  ///< of their two values

  Border(const at::Tensor& values_TE, std::int64_t top_k) {
    const auto [sorted, ids] = values_TE.topk(top_k + 1, 1);
    ids_T2 = ids.narrow(1, top_k - 1, 2);
    middle_T1 = sorted.narrow(1, top_k - 1, 2).mean(1, /*keepdim=*/true);
  }
};

/// The experts that each token should choose, and the cost of other choices.
class Choices {
 public:
  Choices(const at::Tensor& y_TE, std::int64_t top_k) : top_k_(top_k) {
    const at::Tensor above_TE = y_TE - Border(y_TE, top_k).middle_T1;
    chosen_TE_ = above_TE.gt(0).to(at::kFloat);
    cost_TE_ = above_TE.abs();
    cost_TE_ = cost_TE_ / cost_TE_.sum().clamp_min(1e-12);
  }

  /// Logistic loss of the scores' distances from their threshold.
  double loss(const at::Tensor& scores_TE) const {
    const at::Tensor above_TE = scores_TE - Border(scores_TE, top_k_).middle_T1;
    return (at::softplus(above_TE * (1 - 2 * chosen_TE_)) * cost_TE_).sum().item<double>();
  }
  /// Of the loss with respect to the scores, through the threshold too.
  at::Tensor gradient(const at::Tensor& scores_TE) const {
    const Border border(scores_TE, top_k_);
    const at::Tensor by_distance =
        ((scores_TE - border.middle_T1).sigmoid() - chosen_TE_) * cost_TE_;
    const at::Tensor by_border = by_distance.sum(1, /*keepdim=*/true) / -2;
    return by_distance.scatter_add(1, border.ids_T2, by_border.expand({-1, 2}));
  }

 private:
  std::int64_t top_k_;
  at::Tensor chosen_TE_;  // 1 or 0
  at::Tensor cost_TE_;    // distance of y from its threshold; the sum is 1
};

/// Adam (Kingma & Ba, 2015) on all tokens at once; `router` becomes the best of its steps.
void train_on_choices(const at::Tensor& z_TD, const Choices& wanted, const at::Tensor& held_TD,
                      const Choices& held_wanted, LinearRouter& router) {
  constexpr int steps = 100;
  constexpr double rate = 0.05, beta1 = 0.9, beta2 = 0.999;
  at::Tensor w = router.weight_ED.clone(), b = router.bias_E.clone();
  struct Moments {
    at::Tensor first, second;
  } of_w{at::zeros_like(w), at::zeros_like(w)}, of_b{at::zeros_like(b), at::zeros_like(b)};
  double best = std::numeric_limits<double>::infinity();
  for (int step = 0; step <= steps; ++step) {
    const double loss = held_wanted.loss(at::addmm(b, held_TD, w.t()));
    if (loss < best) {
      best = loss;
      router = {w.clone(), b.clone()};
    }
    const at::Tensor by_score = wanted.gradient(at::addmm(b, z_TD, w.t()));
    const auto descend = [&](at::Tensor& x, Moments& m, const at::Tensor& gradient) {
      m.first.mul_(beta1).add_(gradient, 1 - beta1);
      m.second.mul_(beta2).addcmul_(gradient, gradient, 1 - beta2);
      const double now = rate * (1 - static_cast<double>(step) / (steps + 1));
      const double unbiased1 = 1 - std::pow(beta1, step + 1),
                   unbiased2 = 1 - std::pow(beta2, step + 1);
      x.addcdiv_(m.first, (m.second / unbiased2).sqrt().add_(1e-8), -now / unbiased1);
    };
    descend(w, of_w, at::matmul(by_score.t(), z_TD));
    descend(b, of_b, by_score.sum(0));
  }
}

}  // namespace

LinearRouterFit::LinearRouterFit(const at::Tensor& x_TD)
    : mean_D_(x_TD.mean(0)),
      deviation_D_(at_least(x_TD.std(0), 1e-6)),
      z_TD_((x_TD - mean_D_) / deviation_D_) {
  constexpr double strength = 1e-2;  // of the ridge, times the mean variance of the inputs
  const at::Tensor z_TD = z_TD_.to(at::kDouble);
  z_mean_D_ = z_TD.mean(0);
  centred_TD_ = z_TD - z_mean_D_;
  covariance_DD_ = at::matmul(centred_TD_.t(), centred_TD_);
  at::Tensor diagonal_D = covariance_DD_.diagonal();
  diagonal_D.add_(strength * diagonal_D.mean().item<double>() + 1e-12);
}

/// Linear regression of y on z, in f64.
LinearRouter LinearRouterFit::ridge(const at::Tensor& y_TE) const {
  const at::Tensor y = y_TE.to(at::kDouble), y_mean = y.mean(0);
  const at::Tensor w_DE = at::linalg_solve(covariance_DD_, at::matmul(centred_TD_.t(), y - y_mean));
  return {w_DE.t().to(at::kFloat).contiguous(),
          (y_mean - at::matmul(z_mean_D_, w_DE)).to(at::kFloat)};
}

LinearRouter LinearRouterFit::fit(const at::Tensor& norms_TE, std::int64_t top_k) const {
  // In units of what the layer's experts differ by, so that a softmax is neither flat nor hard.
  const at::Tensor y_TE =
      norms_TE / at_least((norms_TE - norms_TE.mean(1, /*keepdim=*/true)).std(), 1e-12);
  LinearRouter router = ridge(y_TE);
  const std::int64_t held = z_TD_.size(0) / 8, tokens = z_TD_.size(0) - held;
  if (top_k < norms_TE.size(1) && held > 0) {
    const auto choices = [&](std::int64_t begin, std::int64_t count) {
      return Choices(y_TE.narrow(0, begin, count), top_k);
    };
    train_on_choices(z_TD_.narrow(0, 0, tokens), choices(0, tokens), z_TD_.narrow(0, tokens, held),
                     choices(tokens, held), router);
  }
  router.weight_ED = router.weight_ED / deviation_D_;
  router.bias_E = router.bias_E - at::mv(router.weight_ED, mean_D_);
  return router;
}

}  // namespace moebius
