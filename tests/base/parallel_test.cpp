#include "base/parallel.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <stdexcept>

namespace moebius {
namespace {

TEST(ParallelFor, CoversEveryIndexOnce) {
  for (const std::size_t count : {0u, 1u, 16383u, 16384u, 50'001u, 100'000u}) {
    for (const int threads : {0, 1, 2, 3, 7}) {
      std::vector<int> hits(count);
      parallel_for(count, threads, [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) ++hits[i];
      });
      EXPECT_EQ(std::count(hits.begin(), hits.end(), 1), static_cast<std::ptrdiff_t>(count))
          << count << " over " << threads;
    }
  }
}

TEST(ParallelFor, UsesSeveralThreadsForLargeWorkAndOneForSmall) {
  std::atomic<int> calls = 0;
  parallel_for(1 << 20, 3, [&](std::size_t, std::size_t) { ++calls; });
  EXPECT_EQ(calls, 3);
  calls = 0;
  parallel_for(1000, 3, [&](std::size_t, std::size_t) { ++calls; });
  EXPECT_EQ(calls, 1);
}

TEST(ParallelFor, RethrowsTheFirstExceptionAfterAllPartsEnded) {
  std::atomic<int> ended = 0;
  const auto work = [&](std::size_t begin, std::size_t) {
    ++ended;
    if (begin > 0) throw std::runtime_error("from a thread");
  };
  EXPECT_THROW(parallel_for(1 << 20, 4, work), std::runtime_error);
  EXPECT_EQ(ended, 4);
}

}  // namespace
}  // namespace moebius
