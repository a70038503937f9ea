#include "convert/partition.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "model/random_model.h"

namespace moebius {
namespace {

std::vector<std::int64_t> sizes_of(const Assignment& assignment, std::int64_t parts) {
  std::vector<std::int64_t> sizes(static_cast<std::size_t>(parts));
  for (const std::int64_t part : assignment) ++sizes.at(static_cast<std::size_t>(part));
  return sizes;
}

double value_of(const at::Tensor& similarity, const Assignment& assignment) {
  double sum = 0;
  for (std::size_t i = 0; i < assignment.size(); ++i) {
    sum += similarity[static_cast<std::int64_t>(i)][assignment[i]].item<double>();
  }
  return sum;
}

TEST(RandomPartition, IsBalancedAndFollowsTheSeed) {
  const Assignment one = random_partition(23, 4, 1, "s");
  EXPECT_EQ(sizes_of(one, 4), (std::vector<std::int64_t>{6, 6, 6, 5}));
  EXPECT_EQ(one, random_partition(23, 4, 1, "s"));
  EXPECT_NE(one, random_partition(23, 4, 2, "s"));
  EXPECT_FALSE(std::is_sorted(one.begin(), one.end()));
}

TEST(AssignBalanced, FindsTheBestOfAllForSmallCases) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const at::Tensor similarity = support::normal_tensor({6, 2}, seed);
    double best = -1e9;
    Assignment all{0, 0, 0, 1, 1, 1};
    do {
      best = std::max(best, value_of(similarity, all));
    } while (std::next_permutation(all.begin(), all.end()));
    const Assignment found = assign_balanced(similarity);
    EXPECT_EQ(sizes_of(found, 2), (std::vector<std::int64_t>{3, 3}));
    EXPECT_NEAR(value_of(similarity, found), best, 1e-5);
  }
}

TEST(AssignBalanced, NoExchangeOfTwoImproves) {
  const at::Tensor similarity = support::normal_tensor({61, 5}, 3);
  const Assignment found = assign_balanced(similarity);
  EXPECT_EQ(sizes_of(found, 5), (std::vector<std::int64_t>{13, 12, 12, 12, 12}));
  const double value = value_of(similarity, found);
  for (std::size_t i = 0; i < found.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      Assignment other = found;
      std::swap(other[i], other[j]);
      EXPECT_LE(value_of(similarity, other), value + 1e-5);
    }
  }
}

TEST(ClusterNeurons, BringsTogetherWhatPointsTheSameWay) {
  // Three directions, ten neurons of each, of different lengths, with a little noise.
  const at::Tensor directions = support::normal_tensor({3, 40}, 1);
  std::vector<at::Tensor> rows;
  for (std::int64_t i = 0; i < 30; ++i) {
    rows.push_back(directions[i % 3] * (1 + static_cast<double>(i)) +
                   support::normal_tensor({40}, 100 + static_cast<std::uint64_t>(i), 0.2));
  }
  const Assignment found = cluster(at::stack(rows), 3, 5, "s");
  for (std::size_t i = 3; i < 30; ++i) EXPECT_EQ(found[i], found[i % 3]);
  EXPECT_EQ(sizes_of(found, 3), (std::vector<std::int64_t>{10, 10, 10}));
}

TEST(ClusterNeurons, SilentNeuronsAndOnePartAreNoTrouble) {
  at::Tensor rows = support::normal_tensor({11, 7}, 2);
  rows.narrow(0, 0, 5).zero_();
  EXPECT_EQ(sizes_of(cluster(rows, 4, 1, "s"), 4), (std::vector<std::int64_t>{3, 3, 3, 2}));
  EXPECT_EQ(cluster(rows, 1, 1, "s"), Assignment(11, 0));
}

}  // namespace
}  // namespace moebius
