#include "train/schedule.h"

#include <gtest/gtest.h>

namespace moebius {
namespace {

TEST(Schedule, WarmsUpInALineAndEndsInACosine) {
  const Schedule o{.lr = 2.0, .min_lr_ratio = 0.1, .warmup = 4};
  EXPECT_DOUBLE_EQ(o.lr_at(0, 104), 0.5);
  EXPECT_DOUBLE_EQ(o.lr_at(1, 104), 1.0);
  EXPECT_DOUBLE_EQ(o.lr_at(3, 104), 2.0);
  EXPECT_DOUBLE_EQ(o.lr_at(4, 104), 2.0);
  EXPECT_NEAR(o.lr_at(54, 104), 0.5 * (2.0 + 0.2), 1e-12);  // half way
  EXPECT_NEAR(o.lr_at(104, 104), 0.2, 1e-12);
  EXPECT_NEAR(o.lr_at(1000, 104), 0.2, 1e-12);
  for (int step = 5; step < 104; ++step) EXPECT_LT(o.lr_at(step, 104), o.lr_at(step - 1, 104));
}

TEST(Schedule, WithoutWarmupStartsAtTheTopAndWithRatioOneStaysThere) {
  const Schedule o{.lr = 2.0, .min_lr_ratio = 0.0};
  EXPECT_DOUBLE_EQ(o.lr_at(0, 10), 2.0);
  EXPECT_NEAR(o.lr_at(10, 10), 0.0, 1e-12);
  const Schedule flat{.lr = 2.0, .min_lr_ratio = 1.0};
  for (int step = 0; step < 12; ++step) EXPECT_DOUBLE_EQ(flat.lr_at(step, 10), 2.0);
  const Schedule all_warmup{.lr = 2.0, .warmup = 10};
  EXPECT_DOUBLE_EQ(all_warmup.lr_at(9, 10), 2.0);
}

}  // namespace
}  // namespace moebius
