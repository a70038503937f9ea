#include "convert/upcycle.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/random.h"

namespace moebius {
namespace {

/// A tensor in memory, and the entry that stands for it.
struct Data {
  std::vector<std::byte> bytes;
  TensorEntry entry;

  Data(DType dtype, std::size_t count, double mean, double deviation) {
    bytes.resize(count * size_of(dtype));
    for (std::size_t i = 0; i < count; ++i) {
      store_weight(bytes.data(), dtype, i,
                   static_cast<float>(mean + deviation * Random(4, 4).normal(i)));
    }
    entry.dtype = dtype;
    entry.shape = {static_cast<std::int64_t>(count)};
    entry.data = bytes.data();
    entry.bytes = bytes.size();
  }
};

constexpr std::size_t many = 300'001;  // several blocks, and a rest

TEST(RandomRouter, IsDeterministicAndDiffersByLayerAndSeed) {
  const auto router = random_router(4, 32, 1.0, 7, 3);
  ASSERT_EQ(router.size(), 4u * 32u);
  EXPECT_EQ(router, random_router(4, 32, 1.0, 7, 3));
  EXPECT_NE(router, random_router(4, 32, 1.0, 7, 4));
  EXPECT_NE(router, random_router(4, 32, 1.0, 8, 3));
}

TEST(RandomRouter, LogitsOfTokensOfThatRmsHaveDeviationOne) {
  for (const double rms : {1.0, 0.1, 20.0}) {
    constexpr std::int64_t experts = 64, d = 256, tokens = 50;
    const auto router = random_router(experts, d, rms, 1, 0);
    double squares = 0;
    for (std::int64_t t = 0; t < tokens; ++t) {
      const Random random(9, static_cast<std::uint64_t>(t));
      for (std::int64_t e = 0; e < experts; ++e) {
        double logit = 0;
        for (std::int64_t i = 0; i < d; ++i) {
          logit += rms * random.normal(static_cast<std::uint64_t>(i)) *
                   router[static_cast<std::size_t>(e * d + i)];
        }
        squares += logit * logit;
      }
    }
    EXPECT_NEAR(std::sqrt(squares / (experts * tokens)), 1.0, 0.05);
  }
}

TEST(NormOutputRms, IsTheRootOfMeanSquaresOfWeightAndBias) {
  const Data weight(DType::f32, 5000, 2.0, 0.0), bias(DType::f32, 5000, 1.5, 0.0);
  EXPECT_NEAR(norm_output_rms(weight.entry, nullptr), 2.0, 1e-12);
  EXPECT_NEAR(norm_output_rms(weight.entry, &bias.entry), 2.5, 1e-12);
  const Data zero(DType::bf16, 10, 0.0, 0.0);
  EXPECT_EQ(norm_output_rms(zero.entry, nullptr), 1.0);  // never a division by zero
}

TEST(StandardDeviation, IsRightInEveryDtypeFarFromZeroToo) {
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    const Data data(dtype, many, dtype == DType::f32 ? 100.0 : 1.0, 0.5);
    double mean = 0, squares = 0;
    for (std::size_t i = 0; i < many; ++i)
      mean += load_weight(data.entry.data, dtype, i) / double(many);
    for (std::size_t i = 0; i < many; ++i) {
      squares += std::pow(load_weight(data.entry.data, dtype, i) - mean, 2);
    }
    EXPECT_NEAR(standard_deviation(data.entry, 2), std::sqrt(squares / many), 1e-9);
  }
  EXPECT_EQ(standard_deviation(Data(DType::f32, 5, 3.0, 0.0).entry, 1), 0.0);
}

TEST(StandardDeviation, IsTheSameAtAnyNumberOfThreads) {
  const Data data(DType::f32, many, 0.3, 1.0);
  const double one = standard_deviation(data.entry, 1);
  for (const int threads : {2, 3, 5, 16}) EXPECT_EQ(standard_deviation(data.entry, threads), one);
}

std::vector<std::byte> noisy(const Data& data, std::size_t begin, std::size_t count, int threads,
                             double deviation = 0.01, const std::string& stream = "s",
                             std::uint64_t seed = 1) {
  std::vector<std::byte> out(count * size_of(data.entry.dtype));
  add_noise(data.entry, begin, count, deviation, seed, stream, threads, out);
  return out;
}

TEST(AddNoise, PiecesEqualTheWholeAtAnyNumberOfThreads) {
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    const Data data(dtype, many, 0.0, 1.0);
    const auto whole = noisy(data, 0, many, 1);
    for (const int threads : {2, 3, 7}) EXPECT_EQ(noisy(data, 0, many, threads), whole);
    std::vector<std::byte> pieces;
    for (std::size_t at = 0; at < many; at += 77'777) {
      const auto piece = noisy(data, at, std::min<std::size_t>(77'777, many - at), 2);
      pieces.insert(pieces.end(), piece.begin(), piece.end());
    }
    EXPECT_EQ(pieces, whole);
  }
}

TEST(AddNoise, HasTheDeviationAskedForAndNoMean) {
  const Data data(DType::f32, many, 0.0, 1.0);
  const auto out = noisy(data, 0, many, 2, 0.25);
  double sum = 0, squares = 0;
  for (std::size_t i = 0; i < many; ++i) {
    const double noise = double(load_weight(out.data(), DType::f32, i)) -
                         load_weight(data.entry.data, DType::f32, i);
    sum += noise;
    squares += noise * noise;
  }
  EXPECT_NEAR(sum / many, 0.0, 0.002);
  EXPECT_NEAR(std::sqrt(squares / many), 0.25, 0.002);
}

TEST(AddNoise, OfZeroDeviationCopiesTheBytes) {
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    const Data data(dtype, 1000, 0.0, 1.0);
    EXPECT_EQ(noisy(data, 0, 1000, 1, 0.0), data.bytes);
  }
}

TEST(AddNoise, ExpertsAndSeedsGetNoiseOfTheirOwn) {
  const Data data(DType::f32, 1000, 0.0, 1.0);
  EXPECT_NE(noise_stream("up", 0), noise_stream("up", 1));
  EXPECT_NE(noise_stream("up", 0), noise_stream("down", 0));
  const auto first = noisy(data, 0, 1000, 1, 0.1, noise_stream("up", 0));
  EXPECT_NE(first, noisy(data, 0, 1000, 1, 0.1, noise_stream("up", 1)));
  EXPECT_NE(first, noisy(data, 0, 1000, 1, 0.1, noise_stream("up", 0), 2));
}

}  // namespace
}  // namespace moebius
