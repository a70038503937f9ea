// Products with a weight and their gradients, beside ATen in double precision.
#include "ops/linear.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "base/support.h"
#include "model/random_model.h"

namespace moebius::ops {
namespace {

using support::normal_tensor;

double distance(const at::Tensor& a, const at::Tensor& expected) {
  return ((a.to(at::kDouble) - expected).norm() / expected.norm()).item<double>();
}

/// y and the gradients of x, w and bias, of ours and of ATen's in double.
void compare(const at::Tensor& x, const at::Tensor& w, const at::Tensor& bias, double tolerance) {
  const auto run = [](const at::Tensor& a, const at::Tensor& b, const at::Tensor& c, auto fn) {
    std::vector<at::Tensor> leaves{a.detach().clone(), b.detach().clone(), c.detach().clone()};
    // Clones keep strides; a leaf of its own is what gradients arrive at.
    for (at::Tensor& leaf : leaves) leaf.requires_grad_();
    const at::Tensor y = fn(leaves[0], leaves[1], leaves[2]);
    std::vector<at::Tensor> out{y.detach()};
    (y.to(at::kDouble) * normal_tensor(y.sizes().vec(), 9).to(at::kDouble)).sum().backward();
    for (const at::Tensor& leaf : leaves) out.push_back(leaf.grad());
    return out;
  };
  const auto ours =
      run(x, w, bias, [](const at::Tensor& a, const at::Tensor& b, const at::Tensor& c) {
        return ops::linear(a, b, c);
      });
  const auto exact = run(x.to(at::kDouble), w.to(at::kDouble), bias.to(at::kDouble),
                         [](const at::Tensor& a, const at::Tensor& b, const at::Tensor& c) {
                           return at::linear(a, b, c);
                         });
  const char* names[] = {"y", "dx", "dw", "dbias"};
  for (std::size_t i = 0; i < exact.size(); ++i) {
    EXPECT_EQ(ours[i].sizes(), exact[i].sizes());
    EXPECT_LT(distance(ours[i], exact[i]), tolerance) << names[i];
  }
}

TEST(LinearOp, AndItsGradientsEqualAtensInDouble) {
  for (const std::int64_t rows : {1, 2, 13, 200}) {
    for (const auto& [in, out] : {std::pair{7, 5}, {64, 96}, {33, 130}, {257, 1}}) {
      const at::Tensor x = normal_tensor({rows, in}, 1), w = normal_tensor({out, in}, 2);
      const at::Tensor bias = normal_tensor({out}, 3);
      compare(x, w, bias, 1e-5);
      compare(x.to(at::kBFloat16), w.to(at::kBFloat16), bias.to(at::kBFloat16), 2e-2);
    }
  }
}

TEST(LinearOp, OfTransposedAndOfManyDimensions) {
  const at::Tensor bias = normal_tensor({10}, 3);
  compare(normal_tensor({2, 3, 21}, 1), normal_tensor({10, 21}, 2), bias, 1e-5);
  compare(normal_tensor({21, 6}, 1).t(), normal_tensor({21, 10}, 2).t(), bias, 1e-5);
}

TEST(LinearOp, AStoredTypeOfTheWeightDoesNotMatter) {
  const at::Tensor x = normal_tensor({9, 40}, 1), bias;
  for (const at::ScalarType type : {at::kHalf, at::kBFloat16}) {
    const at::Tensor w = normal_tensor({24, 40}, 2).to(type);
    EXPECT_LT(distance(ops::linear(x, w, bias), at::linear(x, w.to(at::kFloat)).to(at::kDouble)),
              1e-6);
    at::Tensor trained = w.clone().requires_grad_();
    ops::linear(x, trained, bias).sum().backward();
    EXPECT_EQ(trained.grad().scalar_type(), type);
  }
}

TEST(LinearOp, WithoutRowsIsEmptyAndOtherWidthsAreAnError) {
  EXPECT_EQ(ops::linear(at::zeros({0, 4}), at::zeros({3, 4})).sizes(), at::IntArrayRef({0, 3}));
  EXPECT_TRUE(support::mentions(support::error_of([] {
                                  ops::linear(at::zeros({2, 4}), at::zeros({3, 5}));
                                }),
                                {"4", "5"}));
}

}  // namespace
}  // namespace moebius::ops
