// Routing as a GPU does it, beside the CPU's.
#include "kernels/routing.h"

#include <gtest/gtest.h>

#include <limits>

#include "kernels/cuda/kernels.h"
#include "kernels/support.h"

namespace moebius::kernels {
namespace {

Routed on_gpu(const RoutingRule& rule, const std::vector<float>& logits, const float* correction,
              const float* scale) {
  const std::int64_t tokens = std::ssize(logits) / rule.experts;
  Routed out(rule, tokens);
  EXPECT_EQ(cuda::route({rule, logits.data(), correction, scale, tokens, out.ids.data(),
                         out.weights.data()},
                        nullptr),
            nullptr);
  return out;
}

void expect_alike(const RoutingRule& rule, const std::vector<float>& logits,
                  const float* correction = nullptr, const float* scale = nullptr) {
  const Routed expected = routed(rule, logits, correction, scale);
  const Routed found = on_gpu(rule, logits, correction, scale);
  EXPECT_EQ(found.ids, expected.ids);
  for (std::size_t i = 0; i < expected.weights.size(); ++i) {
    if (std::isnan(expected.weights[i])) {
      EXPECT_TRUE(std::isnan(found.weights[i])) << i;
    } else {
      EXPECT_NEAR(found.weights[i], expected.weights[i], 1e-6) << i;
    }
  }
}

TEST(CudaRoute, EveryRule) {
  for (const std::int64_t experts : {1, 3, 8, 32, 100, 300}) {
    const std::vector<float> logits = normal(7 * experts, 1);
    const std::vector<float> correction = normal(experts, 2), scale = normal(experts, 3);
    for (const std::int64_t top_k : {std::int64_t{1}, std::int64_t{2}, std::int64_t{8}, experts}) {
      if (top_k > experts) continue;
      for (const RouterWeights kind :
           {RouterWeights::softmax_renorm, RouterWeights::softmax, RouterWeights::sigmoid,
            RouterWeights::sigmoid_renorm, RouterWeights::one, RouterWeights::one_plus}) {
        SCOPED_TRACE(testing::Message() << experts << " " << top_k << " " << int(kind));
        const RoutingRule rule{.experts = experts, .top_k = top_k, .kind = kind, .factor = 1.5f};
        expect_alike(rule, logits, nullptr, scale.data());
        if (kind == RouterWeights::sigmoid_renorm) expect_alike(rule, logits, correction.data());
      }
    }
  }
}

TEST(CudaRoute, GroupsAndLimits) {
  const std::vector<float> logits = normal(9 * 96, 4);
  for (const std::int64_t size : {2, 8, 48}) {
    expect_alike({.experts = 96, .top_k = 48, .group_size = size}, logits);
  }
  for (const std::int64_t groups : {2, 8, 48}) {
    for (const std::int64_t kept : {std::int64_t{1}, groups / 2, groups}) {
      SCOPED_TRACE(testing::Message() << groups << " " << kept);
      expect_alike({.experts = 96,
                    .top_k = 2,
                    .limit_groups = groups,
                    .limit_kept = kept,
                    .limit_best = 2,
                    .kind = RouterWeights::sigmoid_renorm},
                   logits, normal(96, 5).data());
    }
  }
}

TEST(CudaRoute, TiesAndWhatIsNotANumber) {
  constexpr float nan = std::numeric_limits<float>::quiet_NaN();
  constexpr float infinity = std::numeric_limits<float>::infinity();
  expect_alike({4, 3}, {1, 5, 5, 2, /**/ 0, 0, 0, 0, /**/ -0.0f, 0, -1, 0});
  expect_alike({4, 2}, {-infinity, nan, 3, -1, /**/ nan, nan, nan, nan});
}

void expect_sorted(std::int64_t tokens, std::int64_t top_k, std::int64_t experts) {
  SCOPED_TRACE(testing::Message() << tokens << " " << top_k << " " << experts);
  const RoutingRule rule{.experts = experts, .top_k = top_k};
  const std::int64_t all = tokens * top_k;
  std::vector<float> logits = normal(tokens * experts, 6);
  for (std::int64_t t = 0; t < tokens; ++t) logits[index(t * experts)] += 2;
  const Routed chosen = routed(rule, logits, nullptr, nullptr);
  std::vector<std::int64_t> offsets(index(experts + 1)), places(index(all));
  Ids rows(index(all));
  std::vector<float> weights(index(all));
  sort_by_expert(rule, chosen.ids.data(), chosen.weights.data(), tokens, offsets.data(),
                 rows.data(), weights.data(), places.data());
  Ids counts(index(experts), -1), found_offsets(index(experts + 1), -1);
  Ids found_rows(index(all), -1), found_places(index(all), -1);
  EXPECT_EQ(cuda::sort_by_expert({chosen.ids.data(), tokens, top_k, experts, counts.data(),
                                  found_offsets.data(), found_rows.data(), found_places.data()},
                                 nullptr),
            nullptr);
  EXPECT_EQ(found_offsets, Ids(offsets.begin(), offsets.end()));
  EXPECT_EQ(found_rows, rows);
  EXPECT_EQ(found_places, Ids(places.begin(), places.end()));
}

TEST(CudaSort, ByExpertWithTokensInOrder) {
  expect_sorted(1, 1, 1);
  expect_sorted(1, 8, 32);
  expect_sorted(37, 2, 8);
  expect_sorted(300, 4, 70);
  expect_sorted(65, 3, 300);  // most experts get none
}

}  // namespace
}  // namespace moebius::kernels
