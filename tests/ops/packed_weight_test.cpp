// Products with packed weights and the gradients that pass through them, beside ATen's with the
// dequantised weights in double precision.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include "base/executor.h"
#include "base/support.h"
#include "model/random_model.h"
#include "ops/grouped_ffn.h"
#include "ops/linear.h"

namespace moebius::ops {
namespace {

using kernels::PackedType;
using support::normal_tensor;

double distance(const at::Tensor& a, const at::Tensor& expected) {
  return ((a.to(at::kDouble) - expected).norm() / expected.norm()).item<double>();
}

/// A packed weight, and what it holds in double.
struct Packed {
  Weight weight;
  at::Tensor values;

  Packed(const at::Tensor& w, PackedType type) : values(at::empty(w.sizes(), at::kDouble)) {
    Executor executor(1);
    const auto packed =
        std::make_shared<const PackedWeight>(WeightPacker(executor).pack(w, type, 32));
    const std::int64_t rows = w.size(-2), columns = w.size(-1);
    auto* to = values.mutable_data_ptr<double>();
    for (std::int64_t e = 0; e < packed->count(); ++e) {
      for (std::int64_t i = 0; i < rows * columns; ++i) {
        *to++ = kernels::unpack(packed->shape(), packed->matrix(e).data, i / columns, i % columns);
      }
    }
    weight = Weight(packed);
  }
};

struct Tolerance {
  PackedType type;
  double forward, backward;  ///< int8 and int4 round activations to int8 on the way forward
};
constexpr Tolerance tolerances[] = {{PackedType::f32, 1e-6, 1e-6},
                                    {PackedType::bf16, 1e-2, 1e-2},
                                    {PackedType::int8, 2e-2, 1e-6},
                                    {PackedType::int4, 2e-2, 1e-6}};

TEST(PackedLinearOp, AndItsGradientToXAreThoseOfTheDequantisedWeight) {
  for (const Tolerance& t : tolerances) {
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      for (const auto& [in, out] : {std::pair{64, 96}, {33, 70}, {200, 5}}) {
        const Packed w(normal_tensor({out, in}, 1), t.type);
        const at::Tensor bias = normal_tensor({out}, 2).to(dtype);
        const at::Tensor dy = normal_tensor({2, 7, out}, 3).to(dtype);
        at::Tensor x = normal_tensor({2, 7, in}, 4).to(dtype).requires_grad_();
        const at::Tensor y = linear(x, w.weight, bias);
        y.backward(dy);
        const double rounding = dtype == at::kFloat ? 0 : 1e-2;
        const at::Tensor exact =
            at::linear(x.detach().to(at::kDouble), w.values, bias.to(at::kDouble));
        EXPECT_EQ(y.scalar_type(), dtype);
        EXPECT_LT(distance(y.detach(), exact), t.forward + rounding);
        EXPECT_EQ(x.grad().scalar_type(), dtype);
        EXPECT_LT(distance(x.grad(), at::matmul(dy.to(at::kDouble), w.values)),
                  t.backward + rounding);
        const at::NoGradGuard no_gradients;
        EXPECT_TRUE(linear(x, w.weight, bias).equal(y));
      }
    }
  }
}

TEST(PackedLinearOp, ChecksWhatItMultiplies) {
  const Packed w(normal_tensor({8, 4}, 1), PackedType::f32);
  EXPECT_TRUE(support::mentions(support::error_of([&] {
                                  linear(at::zeros({2, 5}), w.weight);
                                }),
                                {"5", "4"}));
  EXPECT_TRUE(support::mentions(support::error_of([&] {
                                  linear(at::zeros({2, 4}, at::kDouble), w.weight);
                                }),
                                {"packed"}));
}

/// The layer of `w` in double, token by token.
at::Tensor reference(const at::Tensor& x, const at::Tensor& ids, const at::Tensor& weights,
                     const FfnOf<at::Tensor>& w) {
  std::vector<at::Tensor> y;
  for (std::int64_t t = 0; t < x.size(0); ++t) {
    at::Tensor sum = at::zeros({x.size(1)}, at::kDouble);
    for (std::int64_t k = 0; k < ids.size(1); ++k) {
      const std::int64_t e = ids[t][k].item<std::int64_t>();
      const at::Tensor h = at::silu(at::mv(w.gate[e], x[t])) * at::mv(w.up[e], x[t]);
      sum = sum + weights[t][k] * (at::mv(w.down[e], h) + w.down_bias[e]);
    }
    y.push_back(sum);
  }
  return at::stack(y);
}

TEST(PackedGroupedFfnOp, AndItsGradientsAreThoseOfTheDequantisedWeights) {
  constexpr std::int64_t tokens = 19, d = 36, f = 70, experts = 4;
  const at::Tensor ids = at::stack({at::arange(tokens) % 3, (at::arange(tokens) + 1) % 3}, 1);
  for (const Tolerance& t : tolerances) {
    const Packed gate(normal_tensor({experts, f, d}, 1), t.type);
    const Packed up(normal_tensor({experts, f, d}, 2), t.type);
    const Packed down(normal_tensor({experts, d, f}, 3), t.type);
    const auto run = [&](at::ScalarType dtype, auto fn) {
      at::Tensor x = normal_tensor({tokens, d}, 5).to(dtype).requires_grad_();
      at::Tensor weights = normal_tensor({tokens, 2}, 6).to(dtype).requires_grad_();
      at::Tensor down_bias = normal_tensor({experts, d}, 4).to(dtype).requires_grad_();
      const at::Tensor y = fn(x, weights, down_bias);
      y.backward(normal_tensor({tokens, d}, 7).to(dtype));
      return std::vector{y.detach(), x.grad(), weights.grad(), down_bias.grad()};
    };
    const auto got =
        run(at::kFloat, [&](const at::Tensor& x, const at::Tensor& weights, const at::Tensor& b) {
          const FfnOf<Weight> w{
              .gate = gate.weight, .up = up.weight, .down = down.weight, .down_bias = b};
          EXPECT_TRUE(suits_grouped_ffn(x, w));
          return grouped_ffn(x, ids, weights, w, Activation::silu);
        });
    const auto expected = run(at::kDouble, [&](const at::Tensor& x, const at::Tensor& weights,
                                               const at::Tensor& b) {
      return reference(x, ids, weights,
                       {.gate = gate.values, .up = up.values, .down = down.values, .down_bias = b});
    });
    const char* names[] = {"y", "dx", "dweights", "dbias"};
    for (std::size_t i = 0; i < got.size(); ++i) {
      EXPECT_LT(distance(got[i], expected[i]), 2 * t.forward)
          << names[i] << " " << static_cast<int>(t.type);
    }
  }
}

}  // namespace
}  // namespace moebius::ops
