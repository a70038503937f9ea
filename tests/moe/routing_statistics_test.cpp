#include "moe/routing_statistics.h"

#include <cmath>

#include "base/support.h"

namespace moebius {
namespace {

using support::error_of;
using support::mentions;

using Ids = std::vector<std::int32_t>;

/// Sums of one pass over tokens with two of four experts each.
RouterStatistics routed(const Ids& ids_TK, double entropy_sum = 0) {
  RouterStatistics sums;
  sums.add({ids_TK, /*top_k=*/2, /*experts=*/4, entropy_sum});
  return sums;
}

TEST(RouterStatistics, FiguresOfAKnownLoad) {
  const RouterStatistics sums = routed({0, 1, 0, 1, 0, 3, 0, 3}, 4 * std::log(2.0));
  EXPECT_EQ(sums.tokens_E, (std::vector<double>{4, 2, 0, 2}));
  EXPECT_EQ(sums.tokens, 4);
  EXPECT_EQ(sums.visits, 3);
  EXPECT_EQ(sums.share_E(), (std::vector<double>{0.5, 0.25, 0, 0.25}));
  EXPECT_NEAR(sums.load_entropy(), 1.5 * std::log(2.0), 1e-12);
  EXPECT_NEAR(sums.router_entropy(), std::log(2.0), 1e-12);
  EXPECT_NEAR(sums.max_violation(), 1.0, 1e-12);
  EXPECT_NEAR(sums.load_cv(), std::sqrt(2.0) / 2.0, 1e-12);  // deviations 2, 0, -2, 0 of mean 2
  EXPECT_EQ(sums.dead_experts(), std::vector<std::int64_t>{2});
}

TEST(RouterStatistics, AnEvenLoadHasNoViolationAndTheLargestEntropy) {
  const RouterStatistics sums = routed({0, 1, 2, 3});
  EXPECT_EQ(sums.max_violation(), 0);
  EXPECT_EQ(sums.load_cv(), 0);
  EXPECT_NEAR(sums.load_entropy(), std::log(4.0), 1e-12);
  EXPECT_TRUE(sums.dead_experts().empty());
}

TEST(RouterStatistics, PassesAndMicroBatchesAddUp) {
  RouterStatistics together = routed({0, 1, 2, 3}, 1.0), merged = together;
  const Ids second{0, 1};
  together.add({second, 2, 4, 0.5});
  merged.merge(routed(second, 0.5));
  merged.merge({});  // a rank without tokens
  for (const RouterStatistics& sums : {together, merged}) {
    EXPECT_EQ(sums.tokens_E, (std::vector<double>{2, 2, 1, 1}));
    EXPECT_EQ(sums.tokens, 3);
    EXPECT_EQ(sums.visits, 6);
    EXPECT_NEAR(sums.router_entropy(), 0.5, 1e-12);
  }
  RouterStatistics from_nothing;
  from_nothing.merge(together);
  EXPECT_EQ(from_nothing.tokens_E, together.tokens_E);
}

TEST(RouterStatistics, WithoutTokensAllFiguresAreZero) {
  for (const RouterStatistics& sums : {RouterStatistics{}, routed({})}) {
    EXPECT_EQ(sums.load_entropy(), 0);
    EXPECT_EQ(sums.router_entropy(), 0);
    EXPECT_EQ(sums.max_violation(), 0);
    EXPECT_EQ(sums.load_cv(), 0);
    EXPECT_TRUE(sums.dead_experts().empty());
  }
}

TEST(RouterStatistics, AnotherNumberOfExpertsIsAnError) {
  RouterStatistics sums = routed({0, 1});
  const Ids ids{0, 1};
  EXPECT_TRUE(mentions(error_of([&] { sums.add({ids, 2, 8, 0}); }), {"4", "8"}));
  RouterStatistics other;
  other.add({ids, 2, 3, 0});
  EXPECT_TRUE(mentions(error_of([&] { sums.merge(other); }), {"4", "3"}));
}

TEST(RoutingStatistics, FiguresAreOverTheMoeLayers) {
  RoutingStatistics sums;
  sums.layers = {{}, routed({0, 1, 0, 1}, 2.0), routed({0, 1, 2, 3}, 1.0)};
  EXPECT_EQ(sums.visits(), 6);
  EXPECT_NEAR(sums.router_entropy(), (1.0 + 0.5) / 2, 1e-12);
  EXPECT_NEAR(sums.max_violation(), 1.0, 1e-12);
  EXPECT_NEAR(sums.load_cv(), (1.0 + 0.0) / 2, 1e-12);
  EXPECT_EQ(sums.dead_experts(), 2);
  EXPECT_EQ(RoutingStatistics{}.router_entropy(), 0);
}

TEST(RoutingStatistics, MergingAddsLayerByLayer) {
  RoutingStatistics sums, other;
  other.layers = {{}, routed({0, 1})};
  sums.merge(other);
  sums.merge(other);
  sums.merge({});
  ASSERT_EQ(sums.layers.size(), 2u);
  EXPECT_TRUE(sums.layers[0].empty());
  EXPECT_EQ(sums.layers[1].tokens_E, (std::vector<double>{2, 2, 0, 0}));
  RoutingStatistics longer;
  longer.layers.resize(3);
  EXPECT_TRUE(mentions(error_of([&] { sums.merge(longer); }), {"2", "3"}));
}

TEST(SoftmaxEntropy, OfKnownDistributions) {
  EXPECT_NEAR(softmax_entropy(std::vector<float>{2, 2, 2, 2}), std::log(4.0), 1e-12);
  EXPECT_NEAR(softmax_entropy(std::vector<float>{std::log(3.0f), 0}),
              -(0.75 * std::log(0.75) + 0.25 * std::log(0.25)), 1e-7);
  EXPECT_NEAR(softmax_entropy(std::vector<float>{1000, 0, 0}), 0, 1e-12);
}

}  // namespace
}  // namespace moebius
