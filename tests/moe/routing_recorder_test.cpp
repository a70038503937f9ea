#include "moe/routing_recorder.h"

#include <gtest/gtest.h>

namespace moebius {
namespace {

using Ids = std::vector<std::int32_t>;

TEST(RoutingRecorder, AddsStatisticsOfAllPasses) {
  RoutingRecorder recorder;
  EXPECT_TRUE(recorder.wants_entropy());
  for (int pass = 0; pass < 2; ++pass) {
    recorder.begin_pass(/*layers=*/2, /*rows=*/2);
    const Ids ids{0, 2, 1, 2};
    recorder.add(1, {ids, 2, 3, 0.5}, 0);
  }
  const RoutingStatistics& sums = recorder.statistics();
  EXPECT_TRUE(sums.layers[0].empty());
  EXPECT_EQ(sums.layers[1].tokens_E, (std::vector<double>{2, 2, 4}));
  EXPECT_EQ(sums.layers[1].tokens, 4);
  EXPECT_EQ(sums.layers[1].entropy_sum, 1.0);
}

TEST(RoutingRecorder, KeepsTheExpertsOfTheLastPassByRow) {
  RoutingRecorder recorder(RoutingRecorder::Records::experts);
  EXPECT_FALSE(recorder.wants_entropy());
  recorder.begin_pass(2, 9);
  recorder.begin_pass(2, 4);
  const Ids prompt{0, 2, 1, 2}, others{1, 0, 2, 1};
  const std::vector<std::int64_t> rows{3, 0};
  recorder.add(1, {prompt, 2, 3, 0}, /*first_row=*/1);
  recorder.add(1, {others, 2, 3, 0}, 0, rows);
  const std::vector<Ids> expected{{2, 1}, {0, 2}, {1, 2}, {1, 0}};
  for (std::int64_t row = 0; row < 4; ++row) {
    EXPECT_EQ(recorder.experts_of(row),
              (TokenExperts{{}, expected[static_cast<std::size_t>(row)]}));
  }
}

}  // namespace
}  // namespace moebius
