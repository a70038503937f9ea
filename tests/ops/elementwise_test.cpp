// Norms, rotation and the loss with their gradients, beside ATen's in double precision.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <functional>

#include "base/support.h"
#include "model/random_model.h"
#include "ops/norm.h"
#include "ops/rotate.h"
#include "ops/token_log_probs.h"

namespace moebius::ops {
namespace {

using support::normal_tensor;
using Tensors = std::vector<at::Tensor>;

/// The result of fn and the gradients of what it is given.
Tensors run(const Tensors& given, const std::function<at::Tensor(const Tensors&)>& fn) {
  Tensors leaves;
  for (const at::Tensor& each : given) leaves.push_back(each.detach().clone().requires_grad_());
  const at::Tensor y = fn(leaves);
  (y.to(at::kDouble) * normal_tensor(y.sizes().vec(), 9).to(at::kDouble)).sum().backward();
  Tensors out{y.detach()};
  for (const at::Tensor& leaf : leaves) out.push_back(leaf.grad());
  return out;
}

/// `ours` in f32 and in bf16 beside `exact` in double.
void compare(const Tensors& given, const std::function<at::Tensor(const Tensors&)>& ours,
             const std::function<at::Tensor(const Tensors&)>& exact) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    Tensors typed, wide;
    for (const at::Tensor& each : given) {
      typed.push_back(each.to(type));
      wide.push_back(typed.back().to(at::kDouble));
    }
    const Tensors got = run(typed, ours), expected = run(wide, exact);
    for (std::size_t i = 0; i < expected.size(); ++i) {
      EXPECT_EQ(got[i].sizes(), expected[i].sizes());
      const double off =
          ((got[i].to(at::kDouble) - expected[i]).norm() / expected[i].norm()).item<double>();
      EXPECT_LT(off, type == at::kFloat ? 1e-5 : 1e-2) << type << " " << i;
      EXPECT_TRUE(i == 0 || got[i].scalar_type() == type);
    }
  }
}

TEST(NormOp, AndItsGradientsEqualAtensInDouble) {
  for (const std::int64_t columns : {8, 33, 512}) {
    const at::Tensor x = normal_tensor({3, 50, columns}, 1), w = normal_tensor({columns}, 2);
    const at::Tensor b = normal_tensor({columns}, 3);
    compare(
        {x, w, b}, [](const Tensors& t) { return norm(t[0], t[1], t[2], NormKind::layer, 1e-5); },
        [&](const Tensors& t) { return at::layer_norm(t[0], {columns}, t[1], t[2], 1e-5); });
    compare(
        {x, w}, [](const Tensors& t) { return norm(t[0], t[1], {}, NormKind::rms, 1e-5); },
        [](const Tensors& t) {
          return t[0] * at::rsqrt(t[0].square().mean(-1, true) + 1e-5) * t[1];
        });
  }
}

TEST(NormOp, OfColumnsOfALargerTensor) {
  const at::Tensor x = normal_tensor({2, 9, 40}, 1), w = normal_tensor({24}, 2);
  compare(
      {x, w},
      [](const Tensors& t) { return norm(t[0].narrow(-1, 16, 24), t[1], {}, NormKind::rms, 1e-5); },
      [](const Tensors& t) {
        const at::Tensor part = t[0].narrow(-1, 16, 24);
        return part * at::rsqrt(part.square().mean(-1, true) + 1e-5) * t[1];
      });
}

TEST(RotateOp, AndItsGradientsEqualComplexMultiplicationInDouble) {
  const std::int64_t heads = 3, dim = 21, half = 8, tokens = 70;
  const at::Tensor angles = normal_tensor({tokens, half}, 4);
  const at::Tensor turn =
      at::complex(angles.to(at::kDouble).cos(), angles.to(at::kDouble).sin()).unsqueeze(1);
  for (const bool interleaved : {false, true}) {
    // Of a row of a larger tensor, as parts of a product are.
    compare(
        {normal_tensor({2, tokens, heads * dim + 5}, 1)},
        [&](const Tensors& t) {
          return rotate(t[0].narrow(-1, 5, heads * dim), angles.cos(), angles.sin(), heads,
                        interleaved);
        },
        [&](const Tensors& t) {
          const at::Tensor x = t[0].narrow(-1, 5, heads * dim).unflatten(-1, {heads, dim});
          const at::Tensor last = x.narrow(-1, dim - 2 * half, 2 * half);
          const at::Tensor u =
              interleaved ? last.slice(-1, 0, 2 * half, 2) : last.narrow(-1, 0, half);
          const at::Tensor v =
              interleaved ? last.slice(-1, 1, 2 * half, 2) : last.narrow(-1, half, half);
          const at::Tensor z = at::complex(u.contiguous(), v.contiguous()) * turn;
          return at::cat({x.narrow(-1, 0, dim - 2 * half), at::real(z), at::imag(z)}, -1)
              .flatten(-2);
        });
  }
}

TEST(RotateOp, OfRowsWithPositionsOfTheirOwnIsThatOfEachSequence) {
  const at::Tensor x = normal_tensor({7, 3 * 8}, 1), angles = normal_tensor({5, 4}, 2);
  const at::Tensor positions = at::tensor({0, 1, 2, 3, 0, 1, 4}, at::kLong);
  const at::Tensor cos = angles.cos(), sin = angles.sin();
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kDouble}) {
    const at::Tensor y = rotate(x.to(type), cos.index_select(0, positions),
                                sin.index_select(0, positions), 3, false);
    for (std::int64_t row = 0; row < 7; ++row) {
      const std::int64_t at = positions[row].item<std::int64_t>();
      const at::Tensor alone = rotate(x.narrow(0, row, 1).unsqueeze(0).to(type),
                                      cos.narrow(0, at, 1), sin.narrow(0, at, 1), 3, false);
      EXPECT_TRUE(y[row].equal(alone[0][0]));
    }
  }
  EXPECT_TRUE(
      support::mentions(support::error_of([&] { rotate(x, cos, sin, 3, false); }), {"7", "5"}));
}

TEST(TokenLogProbs, AndTheirGradientsEqualAtensInDouble) {
  const at::Tensor targets = at::arange(0, 37, at::kLong) * 7919 % 301;
  const at::Tensor weights = normal_tensor({37}, 2).abs().to(at::kDouble);
  weights[5] = 0;
  compare(
      {normal_tensor({37, 301}, 1) * 4},
      [&](const Tensors& t) { return (token_log_probs(t[0], targets, 0.25) * weights).sum(); },
      [&](const Tensors& t) {
        const at::Tensor all = at::log_softmax(t[0] * 0.25, -1);
        return (all.gather(1, targets.unsqueeze(1)).squeeze(1) * weights).sum();
      });
}

TEST(TokenLogProbs, OtherTypesAndDevicesGiveTheSame) {
  const at::Tensor scores = normal_tensor({7, 33}, 1), targets = at::arange(7, at::kLong) * 4;
  const at::Tensor f32 = token_log_probs(scores, targets, 0.5);
  EXPECT_EQ(f32.scalar_type(), at::kDouble);
  EXPECT_TRUE(at::allclose(f32, token_log_probs(scores.to(at::kDouble), targets, 0.5), 1e-5, 1e-6));
  EXPECT_TRUE(at::allclose(f32, token_log_probs(scores.to(at::kBFloat16), targets, 0.5), 0, 2e-2));
}

TEST(TokenLogProbs, TargetsAreCheckedAndWhatIsNotFiniteShows) {
  const at::Tensor targets = at::zeros({2}, at::kLong);
  const auto error = [&](const at::Tensor& scores, const at::Tensor& bad) {
    return support::error_of([&] { token_log_probs(scores, bad, 1); });
  };
  for (const auto type : {at::kFloat, at::kDouble}) {
    const at::Tensor scores = at::zeros({2, 5}, type);
    EXPECT_TRUE(support::mentions(error(scores, targets + 5), {"from 5 to 5", "5 scores"}));
    EXPECT_TRUE(support::mentions(error(scores, targets - 1), {"-1"}));
  }
  for (const float bad : {NAN, INFINITY}) {
    at::Tensor scores = at::zeros({2, 37});
    scores[1][20] = bad;
    EXPECT_FALSE(std::isfinite(token_log_probs(scores, targets, 1).sum().item<double>()));
  }
}

}  // namespace
}  // namespace moebius::ops
