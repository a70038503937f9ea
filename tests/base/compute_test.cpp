#include "base/compute.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace moebius {
namespace {

using Use = ComputeResources::Use;

TEST(ComputeResources, TheExecutorIsKeptWhileTheNumberOfThreadsIsTheSame) {
  ComputeResources resources;
  const Executor* first = &Use(resources, 3).executor();
  EXPECT_EQ(&Use(resources, 3).executor(), first);
  EXPECT_EQ(Use(resources, 3).executor().threads(), 3);
  EXPECT_EQ(Use(resources, 1).executor().threads(), 1);
  EXPECT_EQ(Use(resources, 2).executor().threads(), 2);
}

TEST(ComputeResources, ThreadsThatShareThemTakeTurns) {
  ComputeResources resources;
  std::int64_t sum = 0;  // not atomic: the thread sanitizer sees two users at once
  std::vector<std::thread> users;
  for (int t = 0; t < 3; ++t) {
    users.emplace_back([&] {
      for (int i = 0; i < 200; ++i) {
        const Use use(resources, 2);
        const Arena::Scope scope(use.arena());
        auto* values = use.arena().take<std::int64_t>(8);
        use.executor().run(8, [&](std::int64_t piece, int) { values[piece] = piece; });
        for (int j = 0; j < 8; ++j) sum += values[j];
      }
    });
  }
  for (std::thread& user : users) user.join();
  EXPECT_EQ(sum, 3 * 200 * 28);
}

TEST(ComputeResources, ThreadsWithTheirOwnDoNotWaitForEachOther) {
  std::atomic<int> inside{0};
  std::vector<std::thread> users;
  for (int t = 0; t < 2; ++t) {
    users.emplace_back([&] {
      ComputeResources resources;
      const Use use(resources, 2);
      ++inside;
      while (inside < 2) std::this_thread::yield();  // neither goes on before both hold theirs
      std::atomic<int> done{0};
      use.executor().run(100, [&](std::int64_t, int) { ++done; });
      EXPECT_EQ(done, 100);
    });
  }
  for (std::thread& user : users) user.join();
}

}  // namespace
}  // namespace moebius
