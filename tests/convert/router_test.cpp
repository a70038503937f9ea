#include "convert/router.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/random.h"
#include "convert/statistics.h"
#include "model/random_model.h"

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

/// 40 inputs in each of 5 clusters, all far from the origin in one direction.
at::Tensor clustered_inputs(at::Tensor& cluster_T) {
  constexpr std::int64_t clusters = 5, each = 40, d = 24;
  const at::Tensor centres = 2 * support::normal_tensor({clusters, d}, 1);
  cluster_T = at::arange(clusters, at::kLong).repeat({each});
  return centres.index_select(0, cluster_T) +
         0.5 * support::normal_tensor({clusters * each, d}, 2) +
         20 * support::normal_tensor({1, d}, 3);
}

TEST(RowsTowards, LeaveOutWhatAllTokensShareAndScoreWithDeviationOne) {
  at::Tensor cluster_T;
  const at::Tensor x = clustered_inputs(cluster_T);
  const at::Tensor directions = support::normal_tensor({3, 24}, 4) + 100;
  const at::Tensor rows = rows_towards(directions, x);
  EXPECT_EQ(rows.scalar_type(), at::kFloat);
  EXPECT_LT(at::mv(rows, x.mean(0)).abs().max().item<double>(), 1e-3);
  const at::Tensor scores = at::matmul(x, rows.t());
  const at::Tensor deviation = (scores - scores.mean(1, true)).square().mean().sqrt();
  EXPECT_NEAR(deviation.item<double>(), 1.0, 1e-3);
  // The same for directions that have something more in common.
  EXPECT_TRUE(at::allclose(rows, rows_towards(directions - 7, x), 1e-3, 1e-4));
}

TEST(CentroidRouter, SendsEachClusterToAnExpertOfItsOwn) {
  at::Tensor cluster_T;
  const at::Tensor x = clustered_inputs(cluster_T);
  std::vector<float> rows = centroid_router(x, 5, 1, 0);
  const at::Tensor router = at::from_blob(rows.data(), {5, 24}, at::kFloat);
  const at::Tensor expert_T = at::matmul(x, router.t()).argmax(1);
  for (std::int64_t c = 0; c < 5; ++c) {
    const at::Tensor chosen = expert_T.masked_select(cluster_T == c);
    EXPECT_TRUE((chosen == chosen[0]).all().item<bool>()) << "cluster " << c;
  }
  EXPECT_EQ(std::get<0>(at::_unique(expert_T)).numel(), 5);
  EXPECT_EQ(rows, centroid_router(x, 5, 1, 0));
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
