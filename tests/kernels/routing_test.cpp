#include "kernels/routing.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>
#include <vector>

#include "base/random.h"
#include "kernels/support.h"

namespace moebius::kernels {
namespace {

Routed run(const RoutingRule& rule, const std::vector<float>& logits,
           const std::vector<float>& correction = {}, const std::vector<float>& scale = {}) {
  return routed(rule, logits, correction.empty() ? nullptr : correction.data(), scale.data());
}

void expect_near(const std::vector<float>& found, const std::vector<double>& expected) {
  ASSERT_EQ(found.size(), expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) EXPECT_NEAR(found[i], expected[i], 1e-6) << i;
}

double sigmoid(double x) {
  return 1 / (1 + std::exp(-x));
}

TEST(Route, TheBestFirstAndAmongEqualsTheLowerNumber) {
  const Routed r = run({4, 3}, {1, 5, 5, 2, /**/ 0, 0, 0, 0});
  EXPECT_EQ(r.ids, (Ids{1, 2, 3, 0, 1, 2}));
}

TEST(Route, EveryGate) {
  const std::vector<float> logits{0.5f, 2.0f, -1.0f, 1.0f};
  double all = 0;
  for (const float s : logits) all += std::exp(s);
  const double first = std::exp(2.0), second = std::exp(1.0);
  const auto weights = [&](RouterWeights gate) {
    return run({.experts = 4, .top_k = 2, .kind = gate}, logits, {}, {0, 3, 0, 5}).weights;
  };
  expect_near(weights(RouterWeights::softmax_renorm),
              {first / (first + second), second / (first + second)});
  expect_near(weights(RouterWeights::softmax), {first / all, second / all});
  expect_near(weights(RouterWeights::sigmoid), {sigmoid(2), sigmoid(1)});
  const double sum = sigmoid(2) + sigmoid(1);
  expect_near(weights(RouterWeights::sigmoid_renorm), {sigmoid(2) / sum, sigmoid(1) / sum});
  expect_near(weights(RouterWeights::one), {1, 1});
  expect_near(weights(RouterWeights::one_plus), {1 + 3 * first / all, 1 + 5 * second / all});
  expect_near(
      run({.experts = 4, .top_k = 1, .kind = RouterWeights::one, .factor = 2.5f}, logits).weights,
      {2.5});
}

TEST(Route, WholeGroupsByTheSumOfTheirScores) {
  const Routed r = run({.experts = 6, .top_k = 4, .group_size = 2}, {9, 0, 5, 5, 4, 4.5f});
  EXPECT_EQ(r.ids, (Ids{2, 3, 0, 1}));  // 9, 10, 8.5
}

TEST(Route, OnlyGroupsThatAreGoodEnough) {
  // By their two best: 3 + 3, 9 + 0, 5 + 5; of the best two groups, the best three experts.
  const std::vector<float> logits{3, 3, 2, /**/ 9, 0, -1, /**/ 5, 5, -9};
  const RoutingRule rule{
      .experts = 9, .top_k = 3, .limit_groups = 3, .limit_kept = 2, .limit_best = 2};
  EXPECT_EQ(run(rule, logits).ids, (Ids{3, 6, 7}));
}

TEST(Route, TheCorrectionChoosesAndDoesNotWeigh) {
  const RoutingRule rule{.experts = 3, .top_k = 1, .kind = RouterWeights::sigmoid};
  const Routed r = run(rule, {2, 1, 0}, {0, 0, 1});
  EXPECT_EQ(r.ids, (Ids{2}));
  expect_near(r.weights, {0.5});
}

TEST(Route, WithWhatIsNotANumberIdsStillAreDifferentExperts) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const std::vector<float>& logits :
       {std::vector<float>{nan, 1, nan, 2}, {nan, nan, nan, nan}}) {
    const Routed r = run({4, 3}, logits);
    EXPECT_EQ(std::set<std::int32_t>(r.ids.begin(), r.ids.end()).size(), 3u);
  }
  EXPECT_EQ(run({4, 2}, {nan, 1, nan, 2}).ids, (Ids{3, 1}));
}

TEST(SortByExpert, TokensInOrderInsideAnExpert) {
  constexpr std::int64_t tokens = 50, experts = 7, top_k = 3;
  const Random random(1, 2);
  std::vector<float> logits(tokens * experts);
  for (std::size_t i = 0; i < logits.size(); ++i) {
    logits[i] = static_cast<float>(random.normal(i)) - (i % experts == 4 ? 100.0f : 0.0f);
  }
  const RoutingRule rule{experts, top_k};
  const Routed r = run(rule, logits);
  std::vector<std::int64_t> offsets(experts + 1);
  std::vector<std::int32_t> rows(tokens * top_k);
  std::vector<float> weights(rows.size());
  sort_by_expert(rule, r.ids.data(), r.weights.data(), tokens, offsets.data(), rows.data(),
                 weights.data());
  EXPECT_EQ(offsets.front(), 0);
  EXPECT_EQ(offsets.back(), tokens * top_k);
  EXPECT_EQ(offsets[4], offsets[5]);  // nobody chose it
  for (std::int64_t e = 0; e < experts; ++e) {
    for (std::int64_t row = offsets[e]; row < offsets[e + 1]; ++row) {
      EXPECT_TRUE(row == offsets[e] || rows[row - 1] < rows[row]);
      const auto* begin = r.ids.data() + rows[row] * top_k;
      const auto* place = std::find(begin, begin + top_k, e);
      ASSERT_NE(place, begin + top_k);
      EXPECT_EQ(weights[row], r.weights[static_cast<std::size_t>(place - r.ids.data())]);
    }
  }
}

}  // namespace
}  // namespace moebius::kernels
