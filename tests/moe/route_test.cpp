#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "model/random_model.h"
#include "moe/moe.h"

namespace moebius {
namespace {

using support::normal_tensor;
using Ids = std::vector<std::int64_t>;

Ids values_of(const at::Tensor& t) {
  const auto* values = t.const_data_ptr<std::int64_t>();
  return {values, values + t.numel()};
}

/// Routes rows of scores: the router is the identity.
Routing route_scores(const std::vector<float>& scores, MoeSpec moe) {
  const auto experts = moe.experts;
  const auto tokens = static_cast<std::int64_t>(scores.size()) / experts;
  const at::Tensor x = at::tensor(scores).view({tokens, experts});
  if (moe.groups == 0) moe.groups = experts;
  return route(x, {.weight = at::eye(experts)}, moe, Activation::silu);
}

Ids ids_of(const Routing& routing) {
  const at::Tensor flat = routing.ids_TK.flatten().contiguous();
  return {flat.const_data_ptr<std::int64_t>(), flat.const_data_ptr<std::int64_t>() + flat.numel()};
}

TEST(Route, WeightsFollowTheirFormulas) {
  const double e0 = 1, e1 = std::exp(1), e2 = std::exp(2), e3 = std::exp(3);
  const double all = e0 + e1 + e2 + e3;
  const auto expect = [&](RouterWeights kind, double first, double second) {
    const Routing r = route_scores({1, 3, 2, 0}, {.experts = 4, .top_k = 2, .weights = kind});
    EXPECT_EQ(ids_of(r), (Ids{1, 2}));
    EXPECT_EQ(r.ids_TK.scalar_type(), at::kLong);
    EXPECT_NEAR(r.weights_TK[0][0].item<double>(), first, 1e-6);
    EXPECT_NEAR(r.weights_TK[0][1].item<double>(), second, 1e-6);
    EXPECT_EQ(r.logits_TE.size(1), 4);
  };
  expect(RouterWeights::softmax_renorm, e3 / (e3 + e2), e2 / (e3 + e2));
  expect(RouterWeights::softmax, e3 / all, e2 / all);
  expect(RouterWeights::sigmoid, 1 / (1 + std::exp(-3)), 1 / (1 + std::exp(-2)));
  expect(RouterWeights::one, 1, 1);
}

TEST(Route, TiesFallToTheLowerNumber) {
  EXPECT_EQ(ids_of(route_scores({1, 2, 2, 2}, {.experts = 4, .top_k = 2})), (Ids{1, 2}));
  EXPECT_EQ(ids_of(route_scores({0, 0, 0, 0}, {.experts = 4, .top_k = 3})), (Ids{0, 1, 2}));
  for (const std::int64_t experts : {8, 64, 300}) {  // sorts change their method with size
    std::vector<float> scores(static_cast<std::size_t>(5 * experts), 0.25f);
    const Routing r = route_scores(scores, {.experts = experts, .top_k = 4});
    for (int t = 0; t < 5; ++t) {
      EXPECT_TRUE(at::equal(r.ids_TK[t], at::arange(4))) << experts << " experts, token " << t;
    }
  }
}

TEST(Route, AllExpertsMayBeChosen) {
  const Routing r = route_scores({1, 3, 2}, {.experts = 3, .top_k = 3});
  EXPECT_EQ(ids_of(r), (Ids{1, 2, 0}));
  EXPECT_NEAR(r.weights_TK.sum().item<double>(), 1.0, 1e-6);
}

TEST(Route, OneExpertOfWhichRenormalisedWeightIsOne) {
  const Routing r = route_scores({1, 3, 2}, {.experts = 3, .top_k = 1});
  EXPECT_EQ(ids_of(r), Ids{1});
  EXPECT_EQ(r.weights_TK.item<double>(), 1.0);
}

TEST(Route, GroupsAreChosenWholeByTheirSum) {
  const MoeSpec pairs{.experts = 6, .top_k = 2, .groups = 3};
  EXPECT_EQ(ids_of(route_scores({5, -9, 1, 1, 3, -2}, pairs)), (Ids{2, 3}));
  const MoeSpec two{.experts = 6, .top_k = 4, .groups = 3};
  EXPECT_EQ(ids_of(route_scores({5, -9, 1, 1, 3, -2}, two)), (Ids{2, 3, 4, 5}));
  EXPECT_EQ(ids_of(route_scores({5, -9, 1, 1, 3, 2}, two)), (Ids{4, 5, 2, 3}));  // the best first
}

TEST(Route, ATieNeverCutsAGroup) {
  const MoeSpec pairs{.experts = 6, .top_k = 2, .groups = 3};
  EXPECT_EQ(ids_of(route_scores({0, 2, 2, 0, 1, 1}, pairs)), (Ids{0, 1}));
  EXPECT_EQ(ids_of(route_scores({1, 1, 1, 1, 1, 1}, pairs)), (Ids{0, 1}));
  const MoeSpec two{.experts = 6, .top_k = 4, .groups = 3};
  EXPECT_EQ(ids_of(route_scores({0, 1, 1, 1, 2, 0}, two)), (Ids{2, 3, 4, 5}));
}

TEST(Route, OnlyTheBestGroupsMayBeChosenFrom) {
  MoeSpec moe{.experts = 6, .top_k = 3, .limit = {.groups = 3, .kept = 2, .best = 1}};
  EXPECT_EQ(ids_of(route_scores({5, -9, 3, 2, 4, -8}, moe)), (Ids{0, 4, 5}));
  moe.limit.best = 2;  // 5 - 9, 3 + 2, 4 - 8
  EXPECT_EQ(ids_of(route_scores({5, -9, 3, 2, 4, -8}, moe)), (Ids{0, 2, 3}));
  EXPECT_EQ(ids_of(route_scores({1, 1, 1, 1, 1, 1}, moe)), (Ids{0, 1, 2}));
  moe.limit.kept = 3;
  EXPECT_EQ(ids_of(route_scores({5, -9, 3, 2, 4, -8}, moe)), (Ids{0, 4, 2}));
}

TEST(Route, ACorrectionChoosesButDoesNotWeigh) {
  const MoeSpec moe{.experts = 4,
                    .top_k = 2,
                    .weights = RouterWeights::sigmoid_renorm,
                    .groups = 4,
                    .corrected = true,
                    .weight_factor = 3};
  const Router router{.weight = at::eye(4), .correction = at::tensor({-9.0, 0.0, 0.0, 0.4})};
  const Routing r =
      route(at::tensor({9.0F, 1.0F, 2.0F, 0.5F}).view({1, 4}), router, moe, Activation::silu);
  EXPECT_EQ(ids_of(r), (Ids{3, 2}));  // by 0.88 - 9, 0.73, 0.88, 0.62 + 0.4
  const double a = 1 / (1 + std::exp(-0.5)), b = 1 / (1 + std::exp(-2));
  EXPECT_NEAR(r.weights_TK[0][0].item<double>(), 3 * a / (a + b), 1e-6);
  EXPECT_NEAR(r.weights_TK[0][1].item<double>(), 3 * b / (a + b), 1e-6);
}

TEST(Route, ScoresOfBf16TokensAreComputedInF32) {
  const at::Tensor x = normal_tensor({7, 48}, 1).to(at::kBFloat16);
  for (const at::ScalarType stored : {at::kFloat, at::kBFloat16}) {
    const at::Tensor router = normal_tensor({5, 48}, 2).to(stored);
    const Routing r =
        route(x, {.weight = router}, {.experts = 5, .top_k = 2, .groups = 5}, Activation::silu);
    EXPECT_EQ(r.logits_TE.scalar_type(), at::kFloat);
    EXPECT_EQ(r.weights_TK.scalar_type(), at::kFloat);
    const at::Tensor exact = at::matmul(x.to(at::kDouble), router.to(at::kDouble).t());
    EXPECT_LT(support::largest_difference(r.logits_TE, exact), 1e-5);
  }
}

TEST(Permute, SortsStablyAndPlacesAreTheInverse) {
  constexpr std::int64_t tokens = 23, experts = 6, top_k = 3;
  const at::Tensor x = normal_tensor({tokens, experts}, 3);
  const Routing r =
      route(x, {.weight = at::eye(experts)},
            {.experts = experts, .top_k = top_k, .groups = experts}, Activation::silu);
  const Permutation p = permute(r, experts);
  const Ids offsets = values_of(p.offsets_E);
  ASSERT_EQ(offsets.size(), static_cast<std::size_t>(experts + 1));
  EXPECT_EQ(offsets.front(), 0);
  EXPECT_EQ(offsets.back(), tokens * top_k);
  EXPECT_TRUE(at::equal(std::get<0>(at::sort(p.places_N)), at::arange(tokens * top_k)));
  for (std::int64_t t = 0; t < tokens; ++t) {
    for (std::int64_t k = 0; k < top_k; ++k) {
      const auto row = p.places_N[t * top_k + k].item<std::int64_t>();
      const auto e = static_cast<std::size_t>(r.ids_TK[t][k].item<std::int64_t>());
      EXPECT_EQ(p.rows_N[row].item<std::int64_t>(), t);
      EXPECT_GE(row, offsets[e]);
      EXPECT_LT(row, offsets[e + 1]);
    }
  }
  for (std::size_t e = 0; e < experts; ++e) {
    for (std::int64_t row = offsets[e] + 1; row < offsets[e + 1]; ++row) {
      EXPECT_LT(p.rows_N[row - 1].item<std::int64_t>(), p.rows_N[row].item<std::int64_t>());
    }
  }
}

TEST(Permute, ExpertsWithoutTokensHaveEmptyRanges) {
  Routing r;
  r.ids_TK = at::tensor(Ids{4, 1, 4, 1}).view({4, 1});
  const Permutation p = permute(r, 7);
  EXPECT_EQ(values_of(p.offsets_E), (Ids{0, 0, 2, 2, 2, 4, 4, 4}));
  EXPECT_TRUE(at::equal(p.rows_N, at::tensor(Ids{1, 3, 0, 2})));
  EXPECT_TRUE(at::equal(p.places_N, at::tensor(Ids{2, 0, 3, 1})));
}

}  // namespace
}  // namespace moebius
