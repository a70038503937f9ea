// Weights of chosen experts and their gradients beside ATen's operations in double precision.
#include "ops/router_weights.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "base/support.h"
#include "model/random_model.h"

namespace moebius::ops {
namespace {

using kernels::RouterWeights;
using support::normal_tensor;

constexpr RouterWeights kinds[] = {
    RouterWeights::softmax_renorm, RouterWeights::softmax, RouterWeights::sigmoid,
    RouterWeights::sigmoid_renorm, RouterWeights::one,     RouterWeights::one_plus};

/// As the papers write them.
at::Tensor reference(const at::Tensor& s, const at::Tensor& ids, RouterWeights kind,
                     const at::Tensor& u) {
  switch (kind) {
    case RouterWeights::softmax_renorm:
      return at::softmax(s.gather(1, ids), -1);
    case RouterWeights::softmax:
      return at::softmax(s, -1).gather(1, ids);
    case RouterWeights::sigmoid:
      return at::sigmoid(s.gather(1, ids));
    case RouterWeights::sigmoid_renorm: {
      const at::Tensor p = at::sigmoid(s.gather(1, ids));
      return p / p.sum(-1, true);
    }
    case RouterWeights::one:
      return at::ones_like(ids, s.options());
    case RouterWeights::one_plus:
      break;
  }
  return 1 + (at::softmax(s, -1) * u).gather(1, ids);
}

/// Weights, and the gradients of logits and scale where there are any.
template <class Fn>
std::vector<at::Tensor> with_gradients(at::ScalarType type, Fn fn) {
  at::Tensor s = (3 * normal_tensor({600, 33}, 1)).to(type).requires_grad_();
  at::Tensor u = normal_tensor({33}, 2).to(type).requires_grad_();
  const at::Tensor y = fn(s, u);
  if (y.requires_grad()) y.backward(normal_tensor({600, 5}, 3).to(type));
  const auto gradient = [](const at::Tensor& t) {
    return t.grad().defined() ? t.grad() : at::zeros_like(t);
  };
  return {y.detach(), gradient(s), gradient(u)};
}

TEST(RouterWeightsOp, AndTheirGradientsEqualAtensInDouble) {
  const at::Tensor ids = std::get<1>((3 * normal_tensor({600, 33}, 1)).topk(5));
  for (const RouterWeights kind : kinds) {
    const auto expected = with_gradients(
        at::kDouble,
        [&](const at::Tensor& s, const at::Tensor& u) { return 2.5 * reference(s, ids, kind, u); });
    for (const auto& [type, tolerance] : {std::pair{at::kFloat, 1e-5}, {at::kDouble, 1e-12}}) {
      const auto got = with_gradients(type, [&](const at::Tensor& s, const at::Tensor& u) {
        return router_weights(s, ids, kind, u, 2.5);
      });
      for (std::size_t i = 0; i < 3; ++i) {
        const at::Tensor off = (got[i].to(at::kDouble) - expected[i]).norm();
        EXPECT_LE(off.item<double>(), tolerance * expected[i].norm().item<double>() + 1e-12)
            << static_cast<int>(kind) << " " << type << " " << i;
      }
    }
  }
}

TEST(RouterWeightsOp, ChecksIdsAndScale) {
  const at::Tensor s = at::zeros({2, 4}), ids = at::zeros({2, 1}, at::kLong);
  EXPECT_TRUE(support::mentions(
      support::error_of([&] { router_weights(s, ids + 4, RouterWeights::softmax); }), {"4"}));
  EXPECT_TRUE(support::mentions(
      support::error_of([&] { router_weights(s, ids, RouterWeights::one_plus); }), {"scale", "4"}));
}

}  // namespace
}  // namespace moebius::ops
