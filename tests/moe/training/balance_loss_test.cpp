#include "moe/training/balance_loss.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/support.h"
#include "model/random_model.h"

namespace moebius {
namespace {

using Ids = std::vector<std::int64_t>;

/// T tokens with the same scores, each with its ids.
Routing routing_of(const std::vector<float>& scores_E, const Ids& ids, std::int64_t top_k) {
  Routing r;
  r.ids_TK = at::tensor(ids).view({-1, top_k});
  r.logits_TE = at::tensor(scores_E).unsqueeze(0).repeat({r.ids_TK.size(0), 1});
  return r;
}

/// All tokens on expert e of 4, of which the router is sure.
Routing collapsed(std::size_t e) {
  std::vector<float> scores(4, 0.0f);
  scores[e] = 100;
  return routing_of(scores, Ids(8, static_cast<std::int64_t>(e)), 1);
}

double value(const at::Tensor& t) {
  return t.item<double>();
}

TEST(LayerBalanceLoss, IsOneWhereTokensAndProbabilitiesAreSpreadEvenly) {
  EXPECT_NEAR(value(layer_balance_loss(routing_of({0, 0, 0, 0}, {0, 1, 2, 3}, 1))), 1.0, 1e-6);
  EXPECT_NEAR(value(layer_balance_loss(routing_of({5, 5, 5, 5}, {0, 1, 2, 3, 1, 2, 3, 0}, 2))), 1.0,
              1e-6);
}

TEST(LayerBalanceLoss, IsEByKAtCollapse) {
  EXPECT_NEAR(value(layer_balance_loss(collapsed(2))), 4.0, 1e-6);
  EXPECT_NEAR(value(layer_balance_loss(routing_of({50, 50, 0, 0}, {0, 1, 1, 0}, 2))), 2.0, 1e-6);
}

TEST(LayerBalanceLoss, FollowsItsFormula) {
  // f = {3/4, 1/4, 0}, P = {1/2, 1/4, 1/4}, E = 3, K = 1
  const Routing r = routing_of({std::log(2.0f), 0, 0}, {0, 0, 1, 0}, 1);
  EXPECT_NEAR(value(layer_balance_loss(r)), 3 * (0.75 * 0.5 + 0.25 * 0.25), 1e-6);
}

TEST(LayerBalanceLoss, PushesTheScoresOfCrowdedExpertsDown) {
  Routing r = routing_of({0, 0, 0, 0}, {0, 0, 0, 1}, 1);
  r.logits_TE.requires_grad_();
  layer_balance_loss(r).backward();
  const at::Tensor gradient = r.logits_TE.grad().sum(0);
  EXPECT_GT(value(gradient[0]), 0);
  EXPECT_LT(value(gradient[2]), 0);
}

TEST(BalanceLoss, TheMeanOverLayersSeesACollapseThatThePooledFormCancels) {
  const std::vector<Routing> layers{collapsed(0), collapsed(1), collapsed(2), collapsed(3)};
  EXPECT_NEAR(value(balance_loss(layers)), 4.0, 1e-6);
  EXPECT_NEAR(value(pooled_balance_loss(layers)), 1.0, 1e-6);
}

TEST(PooledBalanceLoss, HasTheMinimumKAndIsKTimesTheLayerFormOfOneLayer) {
  const std::vector<Routing> even{routing_of({0, 0, 0, 0}, {0, 1, 2, 3}, 2),
                                  routing_of({0, 0, 0, 0}, {3, 1, 2, 0}, 2)};
  EXPECT_NEAR(value(pooled_balance_loss(even)), 2.0, 1e-6);
  const std::vector<Routing> one{routing_of({3, 1, 0, 2}, {0, 3, 0, 1, 0, 3}, 2)};
  EXPECT_NEAR(value(pooled_balance_loss(one)), 2 * value(layer_balance_loss(one[0])), 1e-5);
}

TEST(PooledBalanceLoss, LayersOfDifferentEAreAnError) {
  const std::vector<Routing> layers{routing_of({0, 0}, {0, 1}, 1),
                                    routing_of({0, 0, 0}, {0, 1}, 1)};
  EXPECT_TRUE(
      support::mentions(support::error_of([&] { pooled_balance_loss(layers); }), {"2 and 3"}));
}

}  // namespace
}  // namespace moebius
