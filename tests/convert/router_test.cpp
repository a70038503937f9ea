#include "convert/router.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/random.h"
#include "convert/statistics.h"

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
  WeightSlice slice() const { return {&entry, 0, entry.shape, false}; }
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
  EXPECT_NEAR(norm_output_rms(weight.slice(), {}), 2.0, 1e-12);
  EXPECT_NEAR(norm_output_rms(weight.slice(), bias.slice()), 2.5, 1e-12);
  const Data zero(DType::bf16, 10, 0.0, 0.0);
  EXPECT_EQ(norm_output_rms(zero.slice(), {}), 1.0);  // never a division by zero
}

TEST(StatisticsOf, AreRightInEveryDtypeFarFromZeroToo) {
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    const Data data(dtype, many, dtype == DType::f32 ? 100.0 : 1.0, 0.5);
    double mean = 0, squares = 0;
    for (std::size_t i = 0; i < many; ++i) {
      mean += load_weight(data.entry.data, dtype, i) / double(many);
    }
    for (std::size_t i = 0; i < many; ++i) {
      squares += std::pow(load_weight(data.entry.data, dtype, i) - mean, 2);
    }
    const Statistics found = statistics_of(data.slice(), 2);
    EXPECT_NEAR(found.mean, mean, 1e-9);
    EXPECT_NEAR(found.deviation, std::sqrt(squares / many), 1e-9);
  }
  EXPECT_EQ(statistics_of(Data(DType::f32, 5, 3.0, 0.0).slice(), 1).deviation, 0.0);
}

TEST(StatisticsOf, AreTheSameAtAnyNumberOfThreads) {
  const Data data(DType::f32, many, 0.3, 1.0);
  const Statistics one = statistics_of(data.slice(), 1);
  for (const int threads : {2, 3, 5, 16}) {
    EXPECT_EQ(statistics_of(data.slice(), threads).mean, one.mean);
    EXPECT_EQ(statistics_of(data.slice(), threads).deviation, one.deviation);
  }
}

}  // namespace
}  // namespace moebius
