#include "data/token_batch.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/support.h"

namespace moebius {
namespace {

using Ids = std::vector<std::int32_t>;

TEST(TokenBatch, SequencesOfUnequalLengthFollowEachOtherWithoutPadding) {
  TokenBatch batch;
  batch.add_next_token(Ids{5, 6, 7, 8});
  batch.add_next_token(Ids{9, 1}, std::vector{0.5f});
  batch.add(Ids{3, 4}, Ids{0, 7}, std::vector{0.0f, 2.0f});
  EXPECT_EQ(batch.ids_N, (Ids{5, 6, 7, 9, 3, 4}));
  EXPECT_EQ(batch.targets_N, (Ids{6, 7, 8, 1, 0, 7}));
  EXPECT_EQ(batch.positions_N, (Ids{0, 1, 2, 0, 0, 1}));
  EXPECT_EQ(batch.sequence_starts, (std::vector<std::int64_t>{0, 3, 4, 6}));
  EXPECT_EQ(batch.weights_N, (std::vector<float>{1, 1, 1, 0.5f, 0, 2}));
  EXPECT_EQ(batch.tokens(), 6);
  EXPECT_EQ(batch.sequences(), 3);
  EXPECT_EQ(batch.longest_sequence(), 3);
  EXPECT_EQ(batch.total_weight(), 5.5);
}

TEST(TokenBatch, AnEmptyOneHasNoSequence) {
  const TokenBatch batch;
  EXPECT_EQ(batch.tokens(), 0);
  EXPECT_EQ(batch.sequences(), 0);
  EXPECT_EQ(batch.longest_sequence(), 0);
  EXPECT_EQ(batch.total_weight(), 0);
}

TEST(TokenBatch, WhatIsNoSequenceIsRefused) {
  TokenBatch batch;
  const auto error = [](auto action) { return support::error_of(action); };
  EXPECT_TRUE(support::mentions(error([&] { batch.add({}, {}, {}); }), {"without tokens"}));
  EXPECT_TRUE(support::mentions(error([&] { batch.add_next_token(Ids{4}); }), {"predict nothing"}));
  EXPECT_TRUE(support::mentions(error([&] {
                                  batch.add(Ids{1, 2}, Ids{2}, std::vector{1.0f, 1.0f});
                                }),
                                {"2 tokens", "1 targets", "2 weights"}));
  for (const float weight : {-1.0f, NAN, INFINITY}) {
    EXPECT_TRUE(support::mentions(error([&] {
                                    batch.add_next_token(Ids{1, 2}, std::vector{weight});
                                  }),
                                  {"a weight is"}));
  }
  EXPECT_EQ(batch.tokens(), 0);
}

}  // namespace
}  // namespace moebius
