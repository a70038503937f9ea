#include "train/gradients.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "model/random_model.h"

namespace moebius {
namespace {

TEST(GradientNorm, IsOfAllOrOfTheChosen) {
  std::vector<Parameter> parameters;
  for (const char* name : {"a", "b", "without"}) {
    parameters.push_back({name, at::zeros({70000}).requires_grad_()});
  }
  const at::Tensor a = support::normal_tensor({70000}, 1), b = support::normal_tensor({70000}, 2);
  parameters[0].value.mutable_grad() = a.clone();
  parameters[1].value.mutable_grad() = b.to(at::kFloat);
  const auto norm = [](const at::Tensor& x) { return x.to(at::kDouble).norm().item<double>(); };
  EXPECT_NEAR(gradient_norm(parameters), std::hypot(norm(a), norm(b)), 1e-3);
  EXPECT_NEAR(gradient_norm(parameters, [](const std::string& name) { return name == "b"; }),
              norm(b), 1e-3);
  EXPECT_EQ(gradient_norm(parameters, [](const std::string& name) { return name == "c"; }), 0.0);
}

TEST(ClipScale, BringsTheNormDownToTheLargestAllowed) {
  EXPECT_EQ(clip_scale(2, 3), 1.0);
  EXPECT_NEAR(clip_scale(6, 3) * 6, 3.0, 1e-5);
  EXPECT_EQ(clip_scale(6, 0), 1.0);  // no bound
}

}  // namespace
}  // namespace moebius
