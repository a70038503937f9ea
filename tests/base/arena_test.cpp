#include "base/arena.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>

namespace moebius {
namespace {

TEST(Arena, PiecesLieOnBordersAndDoNotOverlap) {
  Arena arena;
  const Arena::Scope scope(arena);
  char* before = nullptr;
  for (const std::int64_t size : {1, 0, 63, 64, 65, 100'000, 3'000'000}) {
    char* taken = arena.take<char>(size);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(taken) % 64, 0u);
    std::memset(taken, static_cast<int>(size % 100), static_cast<std::size_t>(size));
    EXPECT_TRUE(before == nullptr || *before == 1);
    if (size == 1) before = taken;
  }
}

TEST(Arena, TheSameWorkAgainTakesNoMoreMemory) {
  Arena arena;
  const auto work = [&] {
    const Arena::Scope scope(arena);
    for (int i = 0; i < 10; ++i) {
      arena.take<double>(10'000);
      const Arena::Scope inner(arena);
      arena.take<double>(50'000);
    }
  };
  work();
  work();
  const std::size_t settled = arena.reserved();
  double* first = nullptr;
  for (int i = 0; i < 5; ++i) {
    work();
    const Arena::Scope scope(arena);
    double* taken = arena.take<double>(1);
    if (first == nullptr) first = taken;
    EXPECT_EQ(taken, first);
  }
  EXPECT_EQ(arena.reserved(), settled);
}

TEST(Arena, TooMuchIsRefusedAndHarmsNothing) {
  Arena arena;
  const Arena::Scope scope(arena);
  EXPECT_THROW(arena.take<char>(-1), std::bad_alloc);
  *arena.take<char>(1) = 1;
}

}  // namespace
}  // namespace moebius
