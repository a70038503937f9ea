#include "train/adamw.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "model/random_model.h"
#include "train/gradients.h"

namespace moebius {
namespace {

using support::normal_tensor;

/// AdamW in plain doubles, as Loshchilov and Hutter write it.
struct ScalarAdamW {
  AdamWOptions o;
  std::vector<double> value, first, second;
  bool decay;
  int steps = 0;

  ScalarAdamW(const AdamWOptions& options, const at::Tensor& start, bool decays)
      : o(options), first(static_cast<std::size_t>(start.numel())), second(first), decay(decays) {
    for (std::int64_t i = 0; i < start.numel(); ++i)
      value.push_back(start.flatten()[i].item<double>());
  }
  void step(double lr, const at::Tensor& gradient, double factor) {
    ++steps;
    for (std::size_t i = 0; i < value.size(); ++i) {
      const double g = gradient.flatten()[static_cast<std::int64_t>(i)].item<double>() * factor;
      first[i] = o.beta1 * first[i] + (1 - o.beta1) * g;
      second[i] = o.beta2 * second[i] + (1 - o.beta2) * g * g;
      const double m = first[i] / (1 - std::pow(o.beta1, steps));
      const double v = second[i] / (1 - std::pow(o.beta2, steps));
      if (decay) value[i] -= lr * o.weight_decay * value[i];
      value[i] -= lr * m / (std::sqrt(v) + o.eps);
    }
  }
  void expect_equal(const at::Tensor& tensor) const {
    for (std::size_t i = 0; i < value.size(); ++i) {
      EXPECT_NEAR(tensor.flatten()[static_cast<std::int64_t>(i)].item<double>(), value[i],
                  2e-6 * (1 + std::fabs(value[i])));
    }
  }
};

TEST(AdamW, EqualsAScalarAdamWWithDecayGroupsAndClipping) {
  const AdamWOptions options{.weight_decay = 0.3, .beta1 = 0.8, .beta2 = 0.9, .eps = 1e-6};
  at::Tensor w = normal_tensor({3, 4}, 1).requires_grad_(),
             b = normal_tensor({5}, 2).requires_grad_();
  ScalarAdamW exact_w(options, w.detach(), true), exact_b(options, b.detach(), false);
  AdamW optimizer({{"w", w, true}, {"b", b, false}}, options);
  int clipped = 0;
  for (std::uint64_t step = 0; step < 5; ++step) {
    const double size = step % 2 == 0 ? 1.0 : 0.2;  // norms on both sides of the bound
    const at::Tensor gw = normal_tensor({3, 4}, 10 + step, size),
                     gb = normal_tensor({5}, 20 + step, size);
    w.mutable_grad() = gw.clone();
    b.mutable_grad() = gb.clone();
    const double norm =
        std::sqrt(gw.square().sum().item<double>() + gb.square().sum().item<double>());
    const double lr = 0.1 / static_cast<double>(step + 1);
    EXPECT_NEAR(gradient_norm(optimizer.parameters()), norm, 1e-5);
    optimizer.step(lr, clip_scale(norm, 2.5));
    const double factor = norm > 2.5 ? 2.5 / norm : 1.0;
    clipped += norm > 2.5;
    exact_w.step(lr, gw, factor);
    exact_b.step(lr, gb, factor);
    exact_w.expect_equal(w.detach());
    exact_b.expect_equal(b.detach());
    EXPECT_FALSE(w.grad().defined());  // cleared
  }
  EXPECT_GT(clipped, 0);
  EXPECT_LT(clipped, 5);
}

TEST(AdamW, AGradientThatNeverAroseCountsAsZero) {
  at::Tensor w = at::ones({4}).requires_grad_();
  AdamW optimizer({{"w", w, true}}, {.weight_decay = 0.5});
  EXPECT_EQ(gradient_norm(optimizer.parameters()), 0.0);
  optimizer.step(0.1, 1);
  EXPECT_NEAR(w[0].item<double>(), 1 - 0.1 * 0.5, 1e-6);  // decay alone
}

TEST(AdamW, WithoutABoundNothingIsClipped) {
  const AdamWOptions options{.weight_decay = 0, .eps = 1.0};
  at::Tensor w = at::zeros({2}).requires_grad_();
  AdamW optimizer({{"w", w, false}}, options);
  w.mutable_grad() = at::full({2}, 1000.0);
  optimizer.step(1.0, clip_scale(2000, 0));
  EXPECT_NEAR(w[0].item<double>(), -1000.0 / 1001.0, 1e-5);
}

TEST(AdamW, GroupsHaveLearningRatesAndDecaysOfTheirOwn) {
  const at::Tensor start = normal_tensor({6}, 1), gradient = normal_tensor({6}, 2);
  const auto updated = [&](double lr, double lr_factor, std::optional<double> decay) {
    at::Tensor w = start.clone().requires_grad_();
    AdamW optimizer({{"w", w, true, {}, lr_factor, decay}}, {.weight_decay = 0.5});
    w.mutable_grad() = gradient.clone();
    optimizer.step(lr, 1);
    return w.detach();
  };
  EXPECT_TRUE(at::equal(updated(0.1, 0.25, {}), updated(0.025, 1, {})));
  EXPECT_TRUE(at::equal(updated(0.1, 1, 0.5), updated(0.1, 1, {})));
  EXPECT_FALSE(at::equal(updated(0.1, 1, 0.0), updated(0.1, 1, {})));
  EXPECT_TRUE(at::equal(updated(0.1, 0, {}), start));
}

TEST(AdamW, ItsStateNamesStepsAndMoments) {
  at::Tensor w = at::zeros({2}).requires_grad_();
  AdamW optimizer({{"w", w, false}}, {.beta1 = 0.5});
  w.mutable_grad() = at::ones({2});
  optimizer.step(0.1, 1);
  const auto state = optimizer.state();
  ASSERT_EQ(state.size(), 3u);
  EXPECT_EQ(state[0].first, "adamw.steps");
  EXPECT_EQ(state[0].second.item<double>(), 1.0);
  EXPECT_EQ(state[1].first, "adamw.moment1.w");
  EXPECT_NEAR(state[1].second[0].item<double>(), 0.5, 1e-6);
  EXPECT_EQ(state[2].first, "adamw.moment2.w");
  EXPECT_NEAR(state[2].second[0].item<double>(), 0.05, 1e-6);
}

TEST(AdamW, OfACopyInBf16UpdatesItsMaster) {
  const AdamWOptions options{.weight_decay = 0.1};
  const at::Tensor start = normal_tensor({3, 5}, 1);
  at::Tensor master = start.clone(), copy = start.to(at::kBFloat16).requires_grad_();
  ScalarAdamW exact(options, start, true);
  AdamW optimizer({{"w", copy, true, master}}, options);
  for (std::uint64_t step = 0; step < 4; ++step) {
    const at::Tensor gradient = normal_tensor({3, 5}, 10 + step).to(at::kBFloat16);
    copy.mutable_grad() = gradient.clone();
    optimizer.step(1e-4, 1);  // less than bf16 could show
    exact.step(1e-4, gradient.to(at::kFloat), 1);
  }
  exact.expect_equal(master);
  EXPECT_TRUE(at::equal(copy.detach(), master.to(at::kBFloat16)));
  EXPECT_FALSE(at::equal(master, start));
  EXPECT_EQ(optimizer.state()[1].second.scalar_type(), at::kFloat);
}

}  // namespace
}  // namespace moebius
