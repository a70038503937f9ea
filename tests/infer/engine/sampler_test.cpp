#include "infer/engine/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "base/error.h"

namespace moebius {
namespace {

using Logits = std::vector<float>;

std::int32_t pick(const SamplingOptions& options, Logits logits, std::uint64_t seed = 1) {
  return Sampler(options, seed, 0).next(logits);
}

/// How often each token came in `count` draws.
std::vector<double> frequencies(Sampler sampler, const Logits& logits, int count) {
  std::vector<double> hits(logits.size());
  for (int i = 0; i < count; ++i) {
    Logits copy = logits;
    hits[static_cast<std::size_t>(sampler.next(copy))] += 1.0 / count;
  }
  return hits;
}

TEST(Sampler, GreedyTakesTheLowestNumberAmongEquals) {
  EXPECT_EQ(pick({}, {1, 3, 2, 3}), 1);
  EXPECT_EQ(pick({}, {0, 0, 0}), 0);
  EXPECT_EQ(pick({}, {-5, -4}), 1);
}

TEST(Sampler, GreedyFindsTheLargestOfMany) {
  for (const std::size_t vocab : {31, 32, 1023, 1024, 1025, 3000}) {
    for (const std::size_t best : {std::size_t{0}, std::size_t{30}, vocab / 2, vocab - 1}) {
      Logits logits(vocab, -3.0f);
      logits[best] = logits[vocab - 1] = -2.0f;
      EXPECT_EQ(pick({}, logits), static_cast<std::int32_t>(best)) << vocab;
    }
  }
}

TEST(Sampler, TheSameSeedGivesTheSameTokens) {
  const SamplingOptions options{.temperature = 1.0};
  const Logits logits(50, 0.0f);
  const auto sequence = [&](std::uint64_t seed, std::uint64_t stream) {
    Sampler sampler(options, seed, stream);
    std::vector<std::int32_t> ids;
    for (int i = 0; i < 20; ++i) {
      Logits copy = logits;
      ids.push_back(sampler.next(copy));
    }
    return ids;
  };
  EXPECT_EQ(sequence(1, 0), sequence(1, 0));
  EXPECT_NE(sequence(1, 0), sequence(2, 0));
  EXPECT_NE(sequence(1, 0), sequence(1, 1));
}

TEST(Sampler, OneTokenOrATinyNucleusIsGreedy) {
  const Logits logits{0.5f, 1.0f, 0.9f, 1.0f};
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    EXPECT_EQ(pick({.temperature = 5.0, .top_k = 1}, logits, seed), 1);
    EXPECT_EQ(pick({.temperature = 5.0, .top_p = 1e-9}, logits, seed), 1);
  }
}

TEST(Sampler, FrequenciesAreThoseOfTheSoftmax) {
  const Logits logits{std::log(0.6f), std::log(0.3f), std::log(0.1f)};
  const auto hits = frequencies(Sampler({.temperature = 1.0}, 3, 0), logits, 60'000);
  EXPECT_NEAR(hits[0], 0.6, 0.01);
  EXPECT_NEAR(hits[1], 0.3, 0.01);
  EXPECT_NEAR(hits[2], 0.1, 0.01);
}

TEST(Sampler, TemperatureDividesTheScores) {
  const Logits logits{std::log(0.8f), std::log(0.2f)};
  const auto cold = frequencies(Sampler({.temperature = 0.5}, 3, 0), logits, 40'000);
  EXPECT_NEAR(cold[0], 0.64 / 0.68, 0.01);
  const auto hot = frequencies(Sampler({.temperature = 2.0}, 3, 0), logits, 40'000);
  EXPECT_NEAR(hot[0], 2.0 / 3.0, 0.01);
}

TEST(Sampler, TopKAndTopPLeaveTheRestOut) {
  const Logits logits{std::log(0.1f), std::log(0.5f), std::log(0.4f)};
  const auto two = frequencies(Sampler({.temperature = 1.0, .top_k = 2}, 3, 0), logits, 20'000);
  EXPECT_EQ(two[0], 0);
  EXPECT_NEAR(two[1], 5.0 / 9.0, 0.015);
  const auto nucleus =
      frequencies(Sampler({.temperature = 1.0, .top_p = 0.6}, 3, 0), logits, 20'000);
  EXPECT_EQ(nucleus[0], 0);  // 0.5 + 0.4 reach 0.6
  EXPECT_NEAR(nucleus[2], 4.0 / 9.0, 0.015);
  const auto one = frequencies(Sampler({.temperature = 1.0, .top_p = 0.45}, 3, 0), logits, 1000);
  EXPECT_NEAR(one[1], 1.0, 1e-9);
  const auto more = frequencies(Sampler({.temperature = 1.0, .top_k = 99}, 3, 0), logits, 20'000);
  EXPECT_NEAR(more[0], 0.1, 0.01);
}

TEST(Sampler, RepetitionPenaltyDividesPositiveAndMultipliesNegativeScores) {
  Sampler sampler({.repetition_penalty = 2.0}, 1, 0);
  sampler.saw(0);
  sampler.saw(2);
  sampler.saw(0);  // once is enough
  Logits logits{4.0f, 1.5f, -3.0f, -3.0f};
  EXPECT_EQ(sampler.next(logits), 0);
  EXPECT_EQ(logits, (Logits{2.0f, 1.5f, -6.0f, -3.0f}));
  Logits close{2.0f, 1.5f, 0.0f, 0.0f};
  EXPECT_EQ(sampler.next(close), 1);
}

TEST(Sampler, WrongOptionsAreErrorsOfUsage) {
  EXPECT_THROW(Sampler({.temperature = -0.1}, 1, 0), UsageError);
  EXPECT_THROW(Sampler({.temperature = NAN}, 1, 0), UsageError);
  EXPECT_THROW(Sampler({.top_k = -1}, 1, 0), UsageError);
  EXPECT_THROW(Sampler({.top_p = 0.0}, 1, 0), UsageError);
  EXPECT_THROW(Sampler({.top_p = 1.1}, 1, 0), UsageError);
  EXPECT_THROW(Sampler({.repetition_penalty = 0.0}, 1, 0), UsageError);
}

}  // namespace
}  // namespace moebius
