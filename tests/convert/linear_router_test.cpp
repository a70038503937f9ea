#include "convert/linear_router.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

namespace moebius {
namespace {

struct Tokens {
  at::Tensor x_TD, norms_TE;
};

/// Norms that are `shape` of a linear function of inputs whose dimensions differ in scale and mean.
Tokens tokens(std::int64_t count, std::uint64_t seed, at::Tensor (*shape)(const at::Tensor&)) {
  constexpr std::int64_t d = 24, experts = 12;
  const at::Generator maps = at::detail::createCPUGenerator(1);
  const at::Tensor w_ED = at::randn({experts, d}, maps, at::kFloat) / 4;
  const at::Tensor z_TD = at::randn({count, d}, at::detail::createCPUGenerator(seed), at::kFloat);
  const at::Tensor scale_D = at::arange(1, d + 1, at::kFloat) / 10;
  return {z_TD * scale_D + 3, shape(at::matmul(z_TD, w_ED.t()))};
}

/// Share of the largest possible sum of `top_k` norms that the router's choices get.
double captured(const LinearRouter& router, const Tokens& t, std::int64_t top_k) {
  const at::Tensor scores_TE = at::addmm(router.bias_E, t.x_TD, router.weight_ED.t());
  const at::Tensor chosen = std::get<1>(scores_TE.topk(top_k, 1));
  const at::Tensor best = std::get<0>(t.norms_TE.topk(top_k, 1));
  return (t.norms_TE.gather(1, chosen).sum() / best.sum()).item<double>();
}

TEST(LinearRouter, ChoosesAsLinearNormsDo) {
  const auto plain = [](const at::Tensor& y) { return y + 10; };
  const LinearRouter router = [&] {
    const Tokens t = tokens(4000, 2, plain);
    return LinearRouterFit(t.x_TD).fit(t.norms_TE, 4);
  }();
  EXPECT_GT(captured(router, tokens(1000, 3, plain), 4), 0.999);
}

TEST(LinearRouter, IsTrainedOnTheChoiceWhereNormsAreNotLinear) {
  const auto steep = [](const at::Tensor& y) { return (2 * y).exp(); };
  const Tokens seen = tokens(4000, 2, steep), fresh = tokens(1000, 3, steep);
  // With all experts chosen there is nothing to train: the regression alone.
  const LinearRouterFit fit(seen.x_TD);
  const LinearRouter regression = fit.fit(seen.norms_TE, 12), trained = fit.fit(seen.norms_TE, 4);
  const double before = captured(regression, fresh, 4), after = captured(trained, fresh, 4);
  EXPECT_GT(after, 1 - (1 - before) / 2) << before;
}

TEST(LinearRouter, TakesFewTokensAndInputsThatNeverChange) {
  const auto plain = [](const at::Tensor& y) { return y + 10; };
  for (const std::int64_t count : {1, 2, 7, 9}) {
    Tokens t = tokens(count, 2, plain);
    t.x_TD.select(1, 3).fill_(5);
    const LinearRouter router = LinearRouterFit(t.x_TD).fit(t.norms_TE, 4);
    EXPECT_TRUE(router.weight_ED.isfinite().all().item<bool>()) << count;
    EXPECT_TRUE(router.bias_E.isfinite().all().item<bool>()) << count;
  }
}

}  // namespace
}  // namespace moebius
