// The grouped layer against a loop over tokens in double precision, and its gradients.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "model/random_model.h"
#include "moe/moe.h"

namespace moebius {
namespace {

using support::largest_difference;
using support::normal_tensor;

constexpr std::int64_t width_d = 12, width_f = 9;

struct Case {
  std::int64_t experts, top_k, tokens;
  bool gated, biases;
  std::int64_t shared = 0, groups = 0;
  RouterWeights weights = RouterWeights::softmax_renorm;
  Activation activation = Activation::silu;
  RouterScores scores = RouterScores::linear;
  bool shared_gate = false, router_bias = false, bias_once = false;

  MoeSpec spec() const {
    return {.experts = experts,
            .top_k = top_k,
            .width = width_f,
            .scores = scores,
            .weights = weights,
            .groups = groups ? groups : experts,
            .shared_width = shared,
            .shared_gate = shared_gate,
            .router_bias = router_bias,
            .bias_once = bias_once};
  }
};

const std::vector<Case> cases{
    {4, 2, 17, true, false},
    {4, 2, 17, false, true, 0, 0, RouterWeights::softmax, Activation::gelu_tanh},
    {8, 1, 3, true, true},  // five experts at least get no token
    {3, 3, 10, true, false},
    {5, 1, 11, false, false, 0, 0, RouterWeights::sigmoid, Activation::relu},
    {4, 2, 9, true, true, 7},
    {6, 4, 13, false, true, 5, 3, RouterWeights::one, Activation::gelu_erf},
    {1, 1, 4, true, false},
    {.experts = 4,
     .top_k = 2,
     .tokens = 9,
     .gated = true,
     .biases = false,
     .shared = 7,
     .shared_gate = true},
    {.experts = 5,
     .top_k = 2,
     .tokens = 9,
     .gated = true,
     .biases = true,
     .shared = 3,
     .weights = RouterWeights::one_plus,
     .router_bias = true,
     .bias_once = true},
    {.experts = 5,
     .top_k = 3,
     .tokens = 9,
     .gated = false,
     .biases = true,
     .weights = RouterWeights::one_plus,
     .bias_once = true},
    {.experts = 4,
     .top_k = 2,
     .tokens = 9,
     .gated = true,
     .biases = true,
     .weights = RouterWeights::one,
     .scores = RouterScores::neurons},
    {.experts = 4,
     .top_k = 2,
     .tokens = 9,
     .gated = false,
     .biases = false,
     .weights = RouterWeights::one_plus,
     .activation = Activation::gelu_tanh,
     .scores = RouterScores::neurons},
};

Ffn random_ffn(std::int64_t experts, std::int64_t width, bool gated, bool biases,
               std::uint64_t seed) {
  const auto make = [&](std::vector<std::int64_t> sizes, std::uint64_t part) {
    if (experts > 0) sizes.insert(sizes.begin(), experts);
    return normal_tensor(sizes, seed + part, 0.5);
  };
  Ffn w;
  w.up = make({width, width_d}, 1);
  w.down = make({width_d, width}, 2);
  if (gated) w.gate = make({width, width_d}, 3);
  if (biases) {
    w.up_bias = make({width}, 4);
    w.down_bias = make({width_d}, 5);
    if (gated) w.gate_bias = make({width}, 6);
  }
  return w;
}

Moe random_moe(const Case& c) {
  Moe moe;
  const bool neurons = c.scores == RouterScores::neurons;
  moe.router.weight = normal_tensor({c.experts, width_d}, 11, 0.4);
  if (c.router_bias || (neurons && c.biases)) moe.router.bias = normal_tensor({c.experts}, 12, 0.4);
  if (neurons && c.gated) {
    moe.router.up = normal_tensor({c.experts, width_d}, 13, 0.4);
    if (c.biases) moe.router.up_bias = normal_tensor({c.experts}, 14, 0.4);
  }
  if (c.weights == RouterWeights::one_plus) moe.router.scale = normal_tensor({c.experts}, 15);
  moe.experts = random_ffn(c.experts, width_f, c.gated, c.biases, 20);
  if (c.shared > 0) moe.shared = random_ffn(0, c.shared, c.gated, c.biases, 40);
  if (c.shared_gate) moe.shared_gate = normal_tensor({1, width_d}, 16, 0.4);
  if (c.bias_once) {
    moe.experts.down_bias = moe.shared.down_bias = at::Tensor();
    moe.bias = normal_tensor({width_d}, 17);
  }
  return moe;
}

at::Tensor act(const at::Tensor& x, Activation activation) {
  switch (activation) {
    case Activation::silu:
      return x / (1 + (-x).exp());
    case Activation::gelu_tanh:
      return 0.5 * x * (1 + (0.7978845608028654 * (x + 0.044715 * x.pow(3))).tanh());
    case Activation::gelu_erf:
      return 0.5 * x * (1 + (x / std::sqrt(2.0)).erf());
    case Activation::relu:
      return x.clamp_min(0);
  }
  return x;
}

/// One FFN on one token, in the dtype of x.
at::Tensor naive_ffn(const at::Tensor& x_D, const Ffn& w, Activation activation, std::int64_t e) {
  const auto pick = [&](const at::Tensor& t) { return (e >= 0 ? t[e] : t).to(x_D.scalar_type()); };
  const auto affine = [&](const at::Tensor& v, const at::Tensor& m, const at::Tensor& bias) {
    const at::Tensor y = at::mv(pick(m), v);
    return bias.defined() ? y + pick(bias) : y;
  };
  at::Tensor hidden = affine(x_D, w.up, w.up_bias);
  hidden = w.gate.defined() ? act(affine(x_D, w.gate, w.gate_bias), activation) * hidden
                            : act(hidden, activation);
  return affine(hidden, w.down, w.down_bias);
}

at::Tensor naive_scores(const at::Tensor& x_D, const Router& w, const Case& c) {
  const auto affine = [&](const at::Tensor& m, const at::Tensor& bias) {
    const at::Tensor y = at::mv(m.to(x_D.scalar_type()), x_D);
    return bias.defined() ? y + bias : y;
  };
  const at::Tensor first = affine(w.weight, w.bias);
  if (c.scores == RouterScores::linear) return first;
  return (w.up.defined() ? act(first, c.activation) * affine(w.up, w.up_bias)
                         : act(first, c.activation))
      .abs();
}

/// The layer token by token, with the experts that `ids_TK` names; weights by their formulas.
at::Tensor naive_layer(const at::Tensor& x_TD, const Moe& w, const Case& c,
                       const at::Tensor& ids_TK) {
  std::vector<at::Tensor> rows;
  for (std::int64_t t = 0; t < x_TD.size(0); ++t) {
    const at::Tensor scores = naive_scores(x_TD[t], w.router, c);
    const at::Tensor chosen = scores.index_select(0, ids_TK[t]);
    at::Tensor weights = at::ones_like(chosen);
    if (c.weights == RouterWeights::softmax_renorm) weights = chosen.exp() / chosen.exp().sum();
    if (c.weights == RouterWeights::softmax) weights = chosen.exp() / scores.exp().sum();
    if (c.weights == RouterWeights::sigmoid) weights = 1 / (1 + (-chosen).exp());
    if (c.weights == RouterWeights::one_plus) {
      weights =
          1 + w.router.scale.plain().index_select(0, ids_TK[t]) * chosen.exp() / scores.exp().sum();
    }
    at::Tensor y = at::zeros_like(x_TD[t]);
    for (std::int64_t k = 0; k < c.top_k; ++k) {
      y = y + weights[k] *
                  naive_ffn(x_TD[t], w.experts, c.activation, ids_TK[t][k].item<std::int64_t>());
    }
    if (c.shared > 0) {
      at::Tensor shared = naive_ffn(x_TD[t], w.shared, c.activation, -1);
      if (c.shared_gate)
        shared =
            shared / (1 + (-at::mv(w.shared_gate.plain().to(x_TD.scalar_type()), x_TD[t])).exp());
      y = y + shared;
    }
    if (c.bias_once) y = y + w.bias;
    rows.push_back(y);
  }
  return at::stack(rows);
}

std::vector<at::Tensor> leaves_of(Moe& w) {
  std::vector<at::Tensor> leaves;
  for (const at::Tensor& t : {w.router.weight, w.router.bias, w.router.up, w.router.up_bias,
                              w.router.scale, w.shared_gate, w.bias}) {
    if (t.defined()) leaves.push_back(t);
  }
  for (Ffn* f : {&w.experts, &w.shared}) {
    for (const at::Tensor& t : {f->gate, f->up, f->down, f->gate_bias, f->up_bias, f->down_bias}) {
      if (t.defined()) leaves.push_back(t);
    }
  }
  return leaves;
}

TEST(MoeLayer, EqualsALoopOverTokensInDouble) {
  for (const Case& c : cases) {
    const Moe w = random_moe(c);
    const at::Tensor x = normal_tensor({c.tokens, width_d}, 7);
    const MoeOutput out = moe_layer(x, w, c.spec(), c.activation);
    const at::Tensor exact = naive_layer(x.to(at::kDouble), w, c, out.routing.ids_TK);
    EXPECT_LT(largest_difference(out.y_TD, exact), 1e-5 * exact.abs().max().item<double>())
        << c.experts << " experts, top-" << c.top_k;
  }
}

TEST(MoeLayer, ManyTokensTakeTheSameResultAsFew) {
  const Case c{4, 2, 900, true, false};  // beyond the kernel for few rows
  const Moe w = random_moe(c);
  const at::Tensor x = normal_tensor({c.tokens, width_d}, 8);
  const at::Tensor all = moe_layer(x, w, c.spec(), c.activation).y_TD;
  for (std::int64_t t = 0; t < c.tokens; t += 100) {
    const at::Tensor one = moe_layer(x.narrow(0, t, 1), w, c.spec(), c.activation).y_TD;
    EXPECT_LT(largest_difference(one[0], all[t]), 1e-5);
  }
}

TEST(MoeLayer, EqualExpertsWithWeightsOfSumOneAreTheDenseFfn) {
  for (const std::int64_t top_k : {1, 2, 5}) {
    const Case c{5, top_k, 12, true, true};
    Moe w = random_moe(c);
    const Ffn dense = random_ffn(0, width_f, true, true, 60);
    const auto copies = [&](const at::Tensor& t) {
      std::vector<std::int64_t> sizes = t.sizes().vec();
      sizes.insert(sizes.begin(), c.experts);
      return t.unsqueeze(0).expand(sizes);
    };
    w.experts = {copies(dense.gate),      copies(dense.up),      copies(dense.down),
                 copies(dense.gate_bias), copies(dense.up_bias), copies(dense.down_bias)};
    const at::Tensor x = normal_tensor({c.tokens, width_d}, 9);
    EXPECT_LT(largest_difference(moe_layer(x, w, c.spec(), c.activation).y_TD,
                                 ffn(x, dense, c.activation)),
              1e-5);
  }
}

TEST(MoeLayer, Bf16WeightsAndTokensStayNearTheF32Result) {
  const Case c{4, 2, 17, true, false};
  const Moe w = random_moe(c);
  Moe narrow = w;
  narrow.experts = {w.experts.gate.plain().to(at::kBFloat16),
                    w.experts.up.plain().to(at::kBFloat16),
                    w.experts.down.plain().to(at::kBFloat16)};
  const at::Tensor x = normal_tensor({c.tokens, width_d}, 7).to(at::kBFloat16);
  const MoeOutput out = moe_layer(x, narrow, c.spec(), c.activation);
  EXPECT_EQ(out.y_TD.scalar_type(), at::kBFloat16);
  const at::Tensor exact = naive_layer(x.to(at::kDouble), w, c, out.routing.ids_TK);
  EXPECT_LT(largest_difference(out.y_TD, exact), 0.03 * exact.abs().max().item<double>());
}

TEST(MoeLayer, GradientsEqualThoseOfTheLoop) {
  for (const Case& c : cases) {
    Moe ours = random_moe(c), naive = random_moe(c);
    at::Tensor x_ours = normal_tensor({c.tokens, width_d}, 7), x_naive = x_ours.clone();
    auto a = leaves_of(ours), b = leaves_of(naive);
    a.push_back(x_ours);
    b.push_back(x_naive);
    for (at::Tensor& t : a) t.requires_grad_();
    for (at::Tensor& t : b) t.requires_grad_();
    const at::Tensor probe = normal_tensor({c.tokens, width_d}, 70);
    const MoeOutput out = moe_layer(x_ours, ours, c.spec(), c.activation);
    (out.y_TD * probe).sum().backward();
    const at::Tensor y = naive_layer(x_naive.to(at::kDouble), naive, c, out.routing.ids_TK);
    (y * probe).sum().backward();
    for (std::size_t i = 0; i < a.size(); ++i) {
      // Weights of sum one or a plain sum leave a router of K = 1 or `one` without gradient.
      const at::Tensor got = a[i].grad().defined() ? a[i].grad() : at::zeros_like(a[i]);
      const at::Tensor want = b[i].grad().defined() ? b[i].grad() : at::zeros_like(b[i]);
      EXPECT_LT(largest_difference(got, want), 1e-4 * (1 + want.abs().max().item<double>()))
          << "weight " << i << " of " << c.experts << " experts, top-" << c.top_k;
    }
  }
}

TEST(MoeLayer, Bf16GradientsStayNearThoseOfTheLoop) {
  const Case c{4, 2, 40, true, true};
  Moe exact = random_moe(c), narrow = random_moe(c);
  at::Tensor x = normal_tensor({c.tokens, width_d}, 7).to(at::kBFloat16);
  at::Tensor x_exact = x.to(at::kFloat);
  auto a = leaves_of(narrow), b = leaves_of(exact);
  for (std::size_t i = 0; i < a.size(); ++i) {
    a[i].set_data(a[i].to(at::kBFloat16));
    b[i].set_data(a[i].to(at::kFloat));
  }
  a.push_back(x);
  b.push_back(x_exact);
  for (at::Tensor& t : a) t.requires_grad_();
  for (at::Tensor& t : b) t.requires_grad_();
  const at::Tensor probe = normal_tensor({c.tokens, width_d}, 70);
  const MoeOutput out = moe_layer(x, narrow, c.spec(), c.activation);
  (out.y_TD.to(at::kFloat) * probe).sum().backward();
  (naive_layer(x_exact.to(at::kDouble), exact, c, out.routing.ids_TK) * probe).sum().backward();
  for (std::size_t i = 0; i < a.size(); ++i) {
    const at::Tensor want = b[i].grad();
    EXPECT_LT(largest_difference(a[i].grad(), want), 0.04 * want.abs().max().item<double>()) << i;
  }
}

TEST(MoeLayer, OnlyWhatIsAskedForGetsAGradient) {
  const Case c{4, 2, 17, true, true};
  Moe w = random_moe(c);
  w.router.weight.plain().requires_grad_();
  const at::Tensor x = normal_tensor({c.tokens, width_d}, 7);
  moe_layer(x, w, c.spec(), c.activation).y_TD.square().sum().backward();
  EXPECT_GT(w.router.weight.plain().grad().abs().max().item<double>(), 0);
  EXPECT_FALSE(w.experts.up.plain().grad().defined());
  EXPECT_FALSE(x.grad().defined());
}

TEST(Experts, AllAtOnceAreWhatOneByOneTheyAre) {
  constexpr std::int64_t experts_count = 5, d = 16, f = 24, tokens = 19;
  Routing routing;
  routing.ids_TK = at::arange(tokens * 2).remainder(4).view({tokens, 2});  // none for the last
  const Permutation permutation = permute(routing, experts_count);
  for (const bool gated : {false, true}) {
    for (const bool biases : {false, true}) {
      std::uint64_t stream = 30;
      std::vector<at::Tensor> narrow, exact;  // x and the leaves
      const auto leaf = [&](bool there, at::IntArrayRef shape) {
        if (!there) return std::pair<at::Tensor, at::Tensor>{};
        const at::Tensor values = normal_tensor(shape, stream++).to(at::kBFloat16);
        narrow.push_back(values.clone().requires_grad_());
        exact.push_back(values.to(at::kFloat).requires_grad_());
        return std::pair{narrow.back(), exact.back()};
      };
      const auto [x, x32] = leaf(true, {tokens, d});
      const auto [gate, gate32] = leaf(gated, {experts_count, f, d});
      const auto [up, up32] = leaf(true, {experts_count, f, d});
      const auto [down, down32] = leaf(true, {experts_count, d, f});
      const auto [gate_b, gate_b32] = leaf(gated && biases, {experts_count, f});
      const auto [up_b, up_b32] = leaf(biases, {experts_count, f});
      const auto [down_b, down_b32] = leaf(biases, {experts_count, d});
      const at::Tensor y =
          grouped_experts(x, permutation, {gate, up, down, gate_b, up_b, down_b}, Activation::silu);
      const at::Tensor expected = experts(
          x32, permutation, {gate32, up32, down32, gate_b32, up_b32, down_b32}, Activation::silu);
      EXPECT_EQ(y.scalar_type(), at::kBFloat16);
      EXPECT_LT(largest_difference(y, expected), 0.02 * expected.abs().max().item<double>());
      const at::Tensor probe = normal_tensor(expected.sizes(), 80);
      (y.to(at::kFloat) * probe).sum().backward();
      (expected * probe).sum().backward();
      for (std::size_t i = 0; i < narrow.size(); ++i) {
        const at::Tensor want = exact[i].grad();
        EXPECT_LT(largest_difference(narrow[i].grad(), want),
                  0.03 * want.abs().max().item<double>())
            << i << " " << gated << " " << biases;
      }
    }
  }
}

TEST(Experts, GradientsEqualCentralDifferencesInDouble) {
  const Case c{3, 2, 5, true, true};
  Moe w = random_moe(c);
  Routing routing =
      moe_layer(normal_tensor({c.tokens, width_d}, 7), w, c.spec(), c.activation).routing;
  const Permutation permutation = permute(routing, c.experts);
  at::Tensor x = normal_tensor({c.tokens, width_d}, 7).to(at::kDouble);
  routing.weights_TK = routing.weights_TK.to(at::kDouble);
  for (Weight* t : {&w.experts.gate, &w.experts.up, &w.experts.down, &w.experts.gate_bias,
                    &w.experts.up_bias, &w.experts.down_bias}) {
    *t = t->plain().to(at::kDouble);
  }
  const at::Tensor probe = normal_tensor({c.tokens, width_d}, 70).to(at::kDouble);
  const auto value = [&] {
    const at::Tensor rows = experts(x, permutation, w.experts, c.activation);
    return (combine(rows, permutation, routing) * probe).sum();
  };
  std::vector<at::Tensor> leaves{x,
                                 routing.weights_TK,
                                 w.experts.gate,
                                 w.experts.up,
                                 w.experts.down,
                                 w.experts.gate_bias,
                                 w.experts.up_bias,
                                 w.experts.down_bias};
  for (at::Tensor& t : leaves) t.requires_grad_();
  value().backward();
  for (at::Tensor& leaf : leaves) {
    const at::Tensor grad = leaf.grad();
    leaf.requires_grad_(false);
    auto* element = leaf.mutable_data_ptr<double>();
    for (std::int64_t i = 0; i < leaf.numel(); i += 1 + leaf.numel() / 20) {
      const double before = element[i], step = 1e-5;
      element[i] = before + step;
      const double up = value().item<double>();
      element[i] = before - step;
      const double down = value().item<double>();
      element[i] = before;
      EXPECT_NEAR(grad.flatten()[i].item<double>(), (up - down) / (2 * step), 1e-7);
    }
  }
}

}  // namespace
}  // namespace moebius
