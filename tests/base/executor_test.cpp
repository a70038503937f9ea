#include "base/executor.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <numeric>
#include <vector>

namespace moebius {
namespace {

TEST(Executor, EveryPieceRunsOnceAndIsDoneOnReturn) {
  for (const int threads : {1, 2, 5}) {
    Executor executor(threads);
    EXPECT_EQ(executor.threads(), threads);
    for (const std::int64_t count : {0, 1, 2, 3, 17, 1000}) {
      std::vector<int> times(static_cast<std::size_t>(count));
      executor.run(count,
                   [&](std::int64_t piece, int) { ++times[static_cast<std::size_t>(piece)]; });
      EXPECT_TRUE(std::all_of(times.begin(), times.end(), [](int n) { return n == 1; }));
    }
  }
}

TEST(Executor, ManyJobsInARowSeeWhatTheOnesBeforeWrote) {
  Executor executor(4);
  std::vector<std::int64_t> values(16);
  for (std::int64_t job = 0; job < 20000; ++job) {
    executor.run(std::ssize(values), [&](std::int64_t piece, int) {
      auto& value = values[static_cast<std::size_t>(piece)];
      value = value == job ? job + 1 : -1;
    });
  }
  EXPECT_TRUE(std::all_of(values.begin(), values.end(), [](auto v) { return v == 20000; }));
}

TEST(Executor, NoTwoPiecesAtOnceHaveTheSameThread) {
  constexpr int threads = 4;
  Executor executor(threads);
  std::vector<int> counts(threads);  // not atomic: the sanitizer for threads would see a clash
  for (int job = 0; job < 100; ++job) {
    executor.run(50, [&](std::int64_t, int thread) {
      ASSERT_GE(thread, 0);
      ASSERT_LT(thread, threads);
      ++counts[static_cast<std::size_t>(thread)];
    });
  }
  EXPECT_EQ(std::accumulate(counts.begin(), counts.end(), 0), 100 * 50);
}

TEST(Executor, AThreadThatIsHeldUpHoldsOnePiece) {
  Executor executor(2);
  std::atomic<int> done{0};
  std::atomic<bool> held{false};
  executor.run(100, [&](std::int64_t piece, int) {
    if (piece == 0) {  // whoever has it cannot go on before the other has done all the rest
      held = true;
      while (done < 99) std::this_thread::yield();
    }
    ++done;
  });
  EXPECT_TRUE(held);
  EXPECT_EQ(done, 100);
}

TEST(Executor, WakesThreadsThatSleep) {
  Executor executor(3);
  for (int job = 0; job < 5; ++job) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    std::atomic<int> together{0};
    // Ends only if three threads are in it at once.
    executor.run(3, [&](std::int64_t, int) {
      ++together;
      while (together < 3) std::this_thread::yield();
    });
  }
}

TEST(Executor, WhatIsExpectedMayChangeWhileThreadsWait) {
  Executor executor(3);
  const std::vector<char> a(5000), b(3);
  std::atomic<int> done{0};
  for (int job = 0; job < 200; ++job) {
    executor.prefetch_when_idle(job % 2 == 0 ? a.data() : b.data(), job % 2 == 0 ? 5000 : 3,
                                job % 3 * 1000);
    executor.run(5, [&](std::int64_t, int) { ++done; });
  }
  executor.prefetch_when_idle(nullptr, 0, 0);
  executor.run(5, [&](std::int64_t, int) { ++done; });
  EXPECT_EQ(done, 1005);
}

TEST(Executor, APieceWaitsForTheOnesBeforeIt) {
  Executor executor(3);
  for (const int delay_ms : {0, 0, 0, 5}) {  // those that wait are awake, or asleep
    std::vector<int> values(6);
    Latch first{3}, last{2};
    std::atomic<int> sums{0};
    executor.run(8, [&](std::int64_t piece, int) {
      if (piece < 5) {
        std::this_thread::sleep_for(std::chrono::milliseconds(delay_ms));
        values[static_cast<std::size_t>(piece)] = 1;
        (piece < 3 ? first : last).count_down(1);
      } else {
        first.wait();
        int sum = values[0] + values[1] + values[2];
        last.wait();
        sum += values[3] + values[4];
        sums += sum;
      }
    });
    EXPECT_EQ(sums, 15);
  }
}

TEST(WorkRanges, EveryUnitIsProcessedOnce) {
  Arena arena;
  for (const int threads : {1, 2, 3, 5}) {
    Executor executor(threads);
    for (const std::int64_t count : {0, 1, 2, 7, 64, 1000}) {
      for (const std::int64_t max_units : {1, 3, 1000}) {
        const Arena::Scope scope(arena);
        const WorkRanges ranges(arena, count, threads);
        std::vector<int> times(static_cast<std::size_t>(count));  // no two threads touch the same
        executor.run(threads, [&](std::int64_t, int thread) {
          ranges.run(thread, max_units, [&](std::int64_t begin, std::int64_t end) {
            EXPECT_LE(end - begin, max_units);
            for (std::int64_t i = begin; i < end; ++i) ++times[static_cast<std::size_t>(i)];
          });
        });
        EXPECT_TRUE(std::all_of(times.begin(), times.end(), [](int n) { return n == 1; }));
      }
    }
  }
}

TEST(WorkRanges, ADelayedThreadHoldsAtMostHalfOfItsRange) {
  constexpr std::int64_t count = 100;
  Arena arena;
  Executor executor(2);
  const WorkRanges ranges(arena, count, 2);
  std::atomic<std::int64_t> done{0};
  std::atomic<bool> held{false};
  executor.run(2, [&](std::int64_t, int thread) {
    ranges.run(thread, count, [&](std::int64_t begin, std::int64_t end) {
      if (!held.exchange(true)) {  // goes on when the other has done all the rest
        EXPECT_LE(end - begin, count / 4);
        while (done < count - (end - begin)) std::this_thread::yield();
      }
      done += end - begin;
    });
  });
  EXPECT_EQ(done, count);
}

TEST(WorkRanges, AThreadProcessesItsRangeInOrder) {
  Arena arena;
  const WorkRanges ranges(arena, 10, 2);
  std::vector<std::int64_t> order;
  ranges.run(1, 2, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) order.push_back(i);
  });
  EXPECT_EQ(order, (std::vector<std::int64_t>{5, 6, 7, 8, 9, 2, 3, 4, 1, 0}));
}

}  // namespace
}  // namespace moebius
