#include "moe/expert_distance.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "model/random_model.h"

namespace moebius {
namespace {

TEST(ExpertDistance, IsZeroForCopies) {
  Moe moe;
  moe.experts.up = support::normal_tensor({1, 5, 3}, 1).repeat({4, 1, 1});
  moe.experts.down = support::normal_tensor({1, 3, 5}, 2).repeat({4, 1, 1});
  EXPECT_NEAR(expert_distance(moe), 0.0, 1e-7);
  moe.experts.up.plain()[2][0][0] += 0.1;
  EXPECT_GT(expert_distance(moe), 1e-4);
}

TEST(ExpertDistance, OfAKnownSpread) {
  Moe moe;  // up: 1.5 and 0.5 around 1; down: copies of 2
  moe.experts.up = at::stack({at::full({4, 3}, 1.5), at::full({4, 3}, 0.5)});
  moe.experts.down = at::full({2, 3, 4}, 2.0);
  EXPECT_NEAR(expert_distance(moe), std::sqrt(0.25 / (1.0 + 4.0)), 1e-6);
  moe.experts.gate = at::stack({at::full({4, 3}, 4.0), at::full({4, 3}, 2.0)});
  EXPECT_NEAR(expert_distance(moe), std::sqrt((0.25 + 1.0) / (1.0 + 4.0 + 9.0)), 1e-6);
}

}  // namespace
}  // namespace moebius
