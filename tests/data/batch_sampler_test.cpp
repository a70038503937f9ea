#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "base/support.h"
#include "data/batch_sampler.h"

namespace moebius {
namespace {

using Ids = std::vector<std::int32_t>;

class BatchSamplerTest : public ::testing::Test {
 protected:
  /// Shards of the given sizes that count through 0, 1, 2, ... from one to the next.
  std::vector<TokenShard> shards(const std::vector<int>& sizes, std::int32_t vocab = 60000) {
    std::vector<TokenShard> result;
    int next = 0;
    for (const int size : sizes) {
      Ids ids(static_cast<std::size_t>(size));
      std::iota(ids.begin(), ids.end(), next);
      next += size;
      const fs::path file = directory_.path() / fmt::format("{}-{}.tok", vocab, result.size());
      write_token_shard(file, ids, vocab, std::string(32, '0'));
      result.push_back(TokenShard::open(file));
    }
    return result;
  }
  template <class Action>
  std::string error(Action&& action) {
    return support::message_of(directory_.path(), action);
  }
  support::TempDir directory_;
};

/// The windows [S1] of a batch, checked to be sequences of which each token predicts the next.
std::vector<Ids> windows_of(const TokenBatch& batch) {
  std::vector<Ids> windows;
  for (std::int64_t s = 0; s < batch.sequences(); ++s) {
    const auto begin = batch.sequence_starts[static_cast<std::size_t>(s)];
    const auto end = batch.sequence_starts[static_cast<std::size_t>(s) + 1];
    Ids window(batch.ids_N.begin() + begin, batch.ids_N.begin() + end);
    window.push_back(batch.targets_N[static_cast<std::size_t>(end) - 1]);
    for (auto i = begin; i < end; ++i) {
      const auto at = static_cast<std::size_t>(i);
      EXPECT_EQ(batch.targets_N[at], window[at - static_cast<std::size_t>(begin) + 1]);
      EXPECT_EQ(batch.positions_N[at], i - begin);
      EXPECT_EQ(batch.weights_N[at], 1.0f);
    }
    windows.push_back(window);
  }
  return windows;
}

/// The first tokens of `count` windows, after checking that each window counts on by ones.
Ids draw(BatchSampler& sampler, int sequence, std::int64_t count) {
  Ids firsts;
  for (std::int64_t i = 0; i < count; ++i) {
    for (const Ids& window : windows_of(sampler.next())) {
      EXPECT_EQ(window.size(), static_cast<std::size_t>(sequence) + 1);
      for (std::size_t t = 1; t < window.size(); ++t) EXPECT_EQ(window[t], window[t - 1] + 1);
      firsts.push_back(window[0]);
    }
  }
  return firsts;
}

TEST_F(BatchSamplerTest, WindowsFollowEachOtherAcrossShards) {
  // 14 tokens: windows of 3 + 1 start at 0, 3, 6, 9; the one at 12 would lack its end.
  BatchSampler sampler(shards({2, 1, 6, 5}), 1, 3, false, 0);
  EXPECT_EQ(sampler.windows(), 4);
  EXPECT_EQ(draw(sampler, 3, 6), (Ids{0, 3, 6, 9, 0, 3}));
}

TEST_F(BatchSamplerTest, ExactlyOneWindow) {
  for (const bool shuffle : {false, true}) {
    BatchSampler sampler(shards({4}), 1, 3, shuffle, 0);
    EXPECT_EQ(sampler.windows(), 1);
    EXPECT_EQ(draw(sampler, 3, 3), (Ids{0, 0, 0}));
  }
}

TEST_F(BatchSamplerTest, BatchesHoldWindowsInRowsAndReachIntoTheNextEpoch) {
  BatchSampler sampler(shards({7}), 2, 2, false, 0);
  ASSERT_EQ(sampler.windows(), 3);
  EXPECT_EQ(windows_of(sampler.next()), (std::vector<Ids>{{0, 1, 2}, {2, 3, 4}}));
  EXPECT_EQ(windows_of(sampler.next()), (std::vector<Ids>{{4, 5, 6}, {0, 1, 2}}));
  EXPECT_EQ(sampler.position(), 4);
}

TEST_F(BatchSamplerTest, EveryEpochVisitsEachWindowOnce) {
  for (const int windows : {16, 17, 64, 65, 100, 1023}) {
    BatchSampler sampler(shards({33, windows * 5 - 29}), 1, 5, true, 11);
    ASSERT_EQ(sampler.windows(), windows);
    std::set<Ids> orders;
    for (int epoch = 0; epoch < 3; ++epoch) {
      const Ids order = draw(sampler, 5, windows);
      const std::set<std::int32_t> seen(order.begin(), order.end());
      ASSERT_EQ(seen.size(), static_cast<std::size_t>(windows)) << "epoch " << epoch;
      EXPECT_EQ(*seen.rbegin(), 5 * (windows - 1));
      orders.insert(order);
    }
    EXPECT_EQ(orders.size(), 3u) << windows << " windows: epochs repeat";
  }
}

TEST_F(BatchSamplerTest, SmallEpochsVisitEachWindowOnceToo) {
  for (int windows = 1; windows <= 40; ++windows) {
    BatchSampler sampler(shards({2 * windows + 1}), 1, 2, true, 3);
    ASSERT_EQ(sampler.windows(), windows);
    for (int epoch = 0; epoch < 3; ++epoch) {
      Ids order = draw(sampler, 2, windows);
      std::ranges::sort(order);
      for (int i = 0; i < windows; ++i) ASSERT_EQ(order[static_cast<std::size_t>(i)], 2 * i);
    }
  }
}

TEST_F(BatchSamplerTest, ShufflingLeavesNoPlaceFavoured) {
  // Where window 0 of 8 stands, over many epochs: each place 1/8 of the time.
  BatchSampler sampler(shards({9}), 1, 1, true, 5);
  std::vector<int> counts(8);
  for (int epoch = 0; epoch < 4000; ++epoch) {
    const Ids order = draw(sampler, 1, 8);
    ++counts[static_cast<std::size_t>(std::ranges::find(order, 0) - order.begin())];
  }
  for (const int count : counts) EXPECT_NEAR(count, 500, 105);  // five standard deviations
}

TEST_F(BatchSamplerTest, SeedDecidesTheOrder) {
  const auto order = [&](std::uint64_t seed) {
    BatchSampler sampler(shards({501}), 1, 5, true, seed);
    return draw(sampler, 5, 100);
  };
  EXPECT_EQ(order(1), order(1));
  EXPECT_NE(order(1), order(2));
  EXPECT_FALSE(std::ranges::is_sorted(order(1)));
}

TEST_F(BatchSamplerTest, SeekEqualsDrawing) {
  for (const bool shuffle : {false, true}) {
    BatchSampler drawn(shards({90, 33}), 3, 4, shuffle, 9);
    for (int step = 0; step < 40; ++step) {
      const std::int64_t position = drawn.position();
      EXPECT_EQ(position, 3 * step);
      const auto batch = windows_of(drawn.next());
      BatchSampler resumed(shards({90, 33}), 3, 4, shuffle, 9);
      resumed.seek(position);
      ASSERT_EQ(windows_of(resumed.next()), batch) << "step " << step;
      EXPECT_EQ(resumed.position(), drawn.position());
    }
  }
}

TEST_F(BatchSamplerTest, TooFewTokensSayHowMany) {
  EXPECT_EQ(error([&] {
              BatchSampler(shards({5, 3}), 1, 8, true, 0);
            }),
            "8 tokens of text, a sequence of 8 needs at least 9");
  EXPECT_EQ(error([&] { BatchSampler({}, 1, 8, true, 0); }),
            "0 tokens of text, a sequence of 8 needs at least 9");
}

TEST_F(BatchSamplerTest, WrongArgumentsAreNamed) {
  EXPECT_EQ(error([&] { BatchSampler(shards({9}), 0, 8, true, 0); }),
            "batch is 0, must be at least 1");
  EXPECT_EQ(error([&] { BatchSampler(shards({9}), 1, 0, true, 0); }),
            "sequence is 0, must be at least 1");
  auto mixed = shards({9});
  mixed.push_back(shards({9}, 50000).front());
  EXPECT_EQ(error([&] { BatchSampler(mixed, 1, 8, true, 0); }),
            "60000-0.tok has a vocabulary of 60000, 50000-0.tok one of 50000");
  BatchSampler sampler(shards({9}), 2, 2, true, 0);
  EXPECT_EQ(error([&] { sampler.seek(-1); }), "[BatchSampler] cannot seek to -1");
}

}  // namespace
}  // namespace moebius
