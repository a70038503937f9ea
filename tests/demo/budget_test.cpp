#include "demo/budget.h"

#include <gtest/gtest.h>

#include "base/support.h"
#include "config/examples.h"
#include "config/weights.h"

namespace moebius {
namespace {

constexpr std::int64_t plenty = std::int64_t{1} << 40;

ModelSpec mixtral() {
  return examples::spec_of(examples::config_of("mixtral"));
}

TEST(PlanTraining, WithMemoryAndTimeEverythingTrains) {
  const TrainingBudget budget = plan_training(mixtral(), 256, 0.01, 100, 200, plenty);
  EXPECT_EQ(budget.train, "all");
  EXPECT_EQ(budget.steps, 200);
  EXPECT_EQ(budget.reason, "");
  EXPECT_GT(budget.bytes, 16 * model_cost(mixtral()).parameters);
}

TEST(PlanTraining, TimeBoundsTheSteps) {
  const TrainingBudget budget = plan_training(mixtral(), 256, 2, 60, 200, plenty);
  EXPECT_EQ(budget.steps, 10);  // a step is three forward passes
  EXPECT_TRUE(support::mentions(budget.reason, {"10 steps", "6.0 s"}));
}

TEST(PlanTraining, MemoryForRoutersAloneTrainsRoutersAlone) {
  const std::int64_t all = plan_training(mixtral(), 256, 0.01, 100, 200, plenty).bytes;
  EXPECT_EQ(plan_training(mixtral(), 256, 0.01, 100, 200, all).train, "all");
  const TrainingBudget budget = plan_training(mixtral(), 256, 0.01, 100, 200, all - 1);
  EXPECT_EQ(budget.train, "router");
  EXPECT_LT(budget.bytes, all);
  EXPECT_TRUE(support::mentions(budget.reason, {"routers alone"}));
}

TEST(PlanTraining, WithoutMemoryNothingTrains) {
  const TrainingBudget budget = plan_training(mixtral(), 256, 0.01, 100, 200, 1000);
  EXPECT_EQ(budget.train, "");
  EXPECT_EQ(budget.steps, 0);
  EXPECT_TRUE(support::mentions(budget.reason, {"even routers alone"}));
}

}  // namespace
}  // namespace moebius
