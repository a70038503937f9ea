#include "moe/collect_routing.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/support.h"

namespace moebius {
namespace {

ModelSpec spec_of(const std::vector<bool>& moe) {
  ModelSpec spec;
  for (const bool is_moe : moe) {
    spec.layers.emplace_back();
    if (is_moe) spec.layers.back().moe = MoeSpec{.experts = 4, .top_k = 2};
  }
  return spec;
}

Routing routing_of(const std::vector<float>& scores_E, const std::vector<std::int64_t>& ids_TK) {
  Routing routing;
  routing.ids_TK = at::tensor(ids_TK).view({-1, 2});
  routing.logits_TE = at::tensor(scores_E).unsqueeze(0).repeat({routing.ids_TK.size(0), 1});
  return routing;
}

TEST(CollectRouting, CountsEveryMoeLayerInItsPlace) {
  const std::vector<Routing> routings{routing_of({0, 0, 0, 0}, {0, 1, 0, 3}),
                                      routing_of({std::log(3.0f), 0, -100, -100}, {2, 1, 1, 2})};
  const RoutingStatistics found = collect_routing(spec_of({false, true, false, true}), routings);
  ASSERT_EQ(found.layers.size(), 4u);
  EXPECT_TRUE(found.layers[0].empty() && found.layers[2].empty());
  EXPECT_EQ(found.layers[1].tokens_E, (std::vector<double>{2, 1, 0, 1}));
  EXPECT_EQ(found.layers[3].tokens_E, (std::vector<double>{0, 2, 2, 0}));
  EXPECT_EQ(found.layers[1].tokens, 2);
  EXPECT_NEAR(found.layers[1].router_entropy(), std::log(4.0), 1e-6);
  const double entropy = -(0.75 * std::log(0.75) + 0.25 * std::log(0.25));
  EXPECT_NEAR(found.layers[3].router_entropy(), entropy, 1e-6);
  EXPECT_EQ(found.dead_experts(), 1 + 2);
  EXPECT_TRUE(support::mentions(support::error_of([&] {
                                  collect_routing(spec_of({true, true, true}), routings);
                                }),
                                {"layer 2"}));
}

}  // namespace
}  // namespace moebius
