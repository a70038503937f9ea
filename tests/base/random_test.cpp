#include "base/random.h"

#include <gtest/gtest.h>

#include <set>
#include <vector>

namespace moebius {
namespace {

TEST(Random, ValuesDependOnSeedStreamAndIndexAlone) {
  const Random forward(7, 3), backward(7, 3);
  std::vector<double> a, b(100);
  for (std::uint64_t i = 0; i < 100; ++i) a.push_back(forward.normal(i));
  for (std::uint64_t i = 100; i-- > 0;) b[i] = backward.normal(i);
  EXPECT_EQ(a, b);
}

TEST(Random, SeedsAndStreamsDiffer) {
  std::set<std::uint64_t> seen;
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    for (std::uint64_t stream = 0; stream < 10; ++stream) {
      for (std::uint64_t i = 0; i < 100; ++i) seen.insert(Random(seed, stream).bits(i));
    }
  }
  EXPECT_EQ(seen.size(), 10u * 10u * 100u);
}

TEST(Random, StreamsAreNotCorrelated) {
  const Random a(1, stream_of("w expert 0")), b(1, stream_of("w expert 1"));
  constexpr int count = 100'000;
  double product = 0;
  for (int i = 0; i < count; ++i) product += a.normal(i) * b.normal(i);
  EXPECT_NEAR(product / count, 0.0, 0.015);
}

TEST(Random, UniformFillsTheUnitIntervalEvenly) {
  const Random random(1, 2);
  constexpr int count = 200'000, bins = 20;
  std::vector<int> histogram(bins);
  for (int i = 0; i < count; ++i) {
    const double u = random.uniform(i);
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
    ++histogram[static_cast<std::size_t>(u * bins)];
  }
  for (const int hits : histogram) EXPECT_NEAR(hits, count / bins, 500);
}

TEST(Random, NormalHasTheMomentsOfANormal) {
  const Random random(11, 5);
  constexpr int count = 400'000;
  double m1 = 0, m2 = 0, m3 = 0, m4 = 0;
  for (int i = 0; i < count; ++i) {
    const double x = random.normal(i);
    ASSERT_TRUE(std::isfinite(x));
    m1 += x, m2 += x * x, m3 += x * x * x, m4 += x * x * x * x;
  }
  EXPECT_NEAR(m1 / count, 0.0, 0.01);
  EXPECT_NEAR(m2 / count, 1.0, 0.01);
  EXPECT_NEAR(m3 / count, 0.0, 0.03);
  EXPECT_NEAR(m4 / count, 3.0, 0.08);
}

TEST(Random, CursorResumesWhereItWasSaved) {
  Random random(3, 4);
  for (int i = 0; i < 5; ++i) random.next();
  Random later(3, 4);
  later.set_cursor(random.cursor());
  EXPECT_EQ(later.next(), random.next());
  EXPECT_EQ(later.next_uniform(), random.next_uniform());
  EXPECT_EQ(later.cursor(), 7u);
}

TEST(Random, NextBelowReachesEveryValueAndNoMore) {
  Random random(9, 9);
  std::vector<int> hits(7);
  for (int i = 0; i < 70'000; ++i) ++hits.at(random.next_below(7));
  for (const int count : hits) EXPECT_NEAR(count, 10'000, 500);
  EXPECT_EQ(random.next_below(1), 0u);
}

TEST(StreamOf, IsFnv1a) {
  EXPECT_EQ(stream_of(""), 0xCBF29CE484222325ull);
  EXPECT_EQ(stream_of("a"), 0xAF63DC4C8601EC8Cull);
  EXPECT_EQ(stream_of("foobar"), 0x85944171F73967E8ull);
}

}  // namespace
}  // namespace moebius
