// Codes chosen for inputs, beside the nearest ones and beside the method written out in double.
#include "quantize/gptq.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "base/support.h"
#include "kernels/codes.h"
#include "model/random_model.h"

namespace moebius {
namespace {

using kernels::PackedType;
using support::normal_tensor;

/// Inputs whose columns have to do with one another, as those of a model have.
at::Tensor mixed_inputs(std::int64_t tokens, std::int64_t columns) {
  const at::Tensor mix = normal_tensor({columns / 2 + 1, columns}, 5);
  return at::mm(normal_tensor({tokens, columns / 2 + 1}, 6), mix) +
         normal_tensor({tokens, columns}, 7) * 0.1;
}

/// Of the products with x, relative.
double error_of(const QuantisedMatrix& q, const at::Tensor& w, const at::Tensor& x) {
  const at::Tensor exact = at::mm(x, w.t());
  return ((at::mm(x, q.dequantised().t()) - exact).norm() / exact.norm()).item<double>();
}

TEST(Gptq, WithoutInputsEveryCodeIsTheNearest) {
  Executor executor(2);
  WeightPacker packer(executor);
  for (const PackedType type : {PackedType::int8, PackedType::int4}) {
    for (const auto& [rows, columns] : {std::pair{1, 8}, {37, 83}, {130, 160}}) {
      const at::Tensor w = normal_tensor({rows, columns}, 1);
      const QuantisedMatrix q = gptq(w, {}, type, 32, executor);
      const PackedWeight plain = packer.pack(w, type, 32), packed = packer.pack({&q, 1});
      ASSERT_EQ(plain.bytes(), packed.bytes());
      EXPECT_TRUE(
          std::equal(plain.memory().begin(), plain.memory().end(), packed.memory().begin()));
      // What is packed is what is said to be.
      const at::Tensor values = q.dequantised();
      const kernels::Matrix m = packed.matrix();
      for (std::int64_t n = 0; n < rows; ++n) {
        for (std::int64_t k = 0; k < columns; ++k) {
          ASSERT_EQ(kernels::unpack(m.shape, m.data, n, k), values[n][k].item<float>());
        }
      }
    }
  }
}

TEST(Gptq, MissesTheProductsLessThanTheNearestCodes) {
  Executor executor(2);
  for (const auto& [rows, columns] : {std::pair{37, 83}, {64, 256}, {5, 300}}) {
    const at::Tensor x = mixed_inputs(600, columns), w = normal_tensor({rows, columns}, 1);
    const at::Tensor factor = error_factor(x);
    const double nearest = error_of(gptq(w, {}, PackedType::int4, 32, executor), w, x);
    const double chosen = error_of(gptq(w, factor, PackedType::int4, 32, executor), w, x);
    EXPECT_LT(chosen, 0.75 * nearest) << columns;
  }
}

TEST(Gptq, IsTheMethodWrittenOut) {
  constexpr std::int64_t rows = 9, columns = 300, group = 32;
  Executor executor(2);
  const at::Tensor x = mixed_inputs(900, columns), w = normal_tensor({rows, columns}, 1);
  const QuantisedMatrix q = gptq(w, error_factor(x), PackedType::int4, group, executor);

  // Optimal brain surgeon, column by column: what a column's error asks of all later ones, by the
  // inverse of the moments, from which the column is then eliminated.
  const at::Tensor wide = x.to(at::kDouble), moments = at::mm(wide.t(), wide);
  const double damping = 0.01 * moments.diagonal().mean().item<double>();
  at::Tensor inverse = at::linalg_inv(moments + at::eye(columns, at::kDouble) * damping);
  at::Tensor left = w.to(at::kDouble).clone();
  const kernels::NearestCode nearest(PackedType::int4);
  std::int64_t different = 0;
  for (std::int64_t k = 0; k < columns; ++k) {
    at::Tensor errors = at::zeros({rows}, at::kDouble);
    for (std::int64_t n = 0; n < rows; ++n) {
      // A scale hangs on ties in its candidates; what is compared are the codes for it.
      const float scale = q.scales_NG[n][k / group].item<float>();
      const auto value = left[n][k].item<float>();
      const float code = nearest(value, 1 / scale);
      different += code != q.codes_NK[n][k].item<float>() ? 1 : 0;
      errors[n] = value - static_cast<double>(q.codes_NK[n][k].item<float>() * scale);
    }
    const at::Tensor column = inverse.select(1, k).clone(), corner = inverse[k][k].clone();
    left -= at::outer(errors / corner, column);
    inverse -= at::outer(column, column) / corner;
  }
  EXPECT_LT(different, rows * columns / 200);
}

TEST(Gptq, InputsOfOneTokenOrOfNothing) {
  Executor executor(1);
  const at::Tensor w = normal_tensor({20, 64}, 1);
  EXPECT_FALSE(error_factor(at::zeros({0, 64})).defined());
  EXPECT_FALSE(error_factor(at::zeros({9, 64})).defined());
  const at::Tensor x = normal_tensor({1, 64}, 2);
  const QuantisedMatrix q = gptq(w, error_factor(x), PackedType::int4, 32, executor);
  EXPECT_LT(error_of(q, w, x), 0.02);
  EXPECT_LT(error_of(q, w, at::eye(64)), 0.2);  // and all else is not forgotten
  at::Tensor bad = x.clone();
  bad[0][3] = NAN;
  EXPECT_TRUE(support::mentions(support::error_of([&] { error_factor(bad); }), {"not finite"}));
}

TEST(Gptq, BitsDoNotDependOnThreads) {
  const at::Tensor x = mixed_inputs(300, 160), w = normal_tensor({150, 160}, 1);
  const at::Tensor factor = error_factor(x);
  Executor one(1), three(3);
  const QuantisedMatrix a = gptq(w, factor, PackedType::int4, 32, one);
  const QuantisedMatrix b = gptq(w, factor, PackedType::int4, 32, three);
  EXPECT_TRUE(at::equal(a.codes_NK, b.codes_NK) && at::equal(a.scales_NG, b.scales_NG));
}

}  // namespace
}  // namespace moebius
