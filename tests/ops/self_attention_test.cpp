// Self-attention over ragged batches beside ATen's, in double precision, one sequence at a time.
#include "ops/self_attention.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "base/support.h"
#include "model/random_model.h"

namespace moebius::ops {
namespace {

using support::normal_tensor;
using Tensors = std::vector<at::Tensor>;

at::Tensor starts_of(const std::vector<std::int64_t>& lengths) {
  return at::cat({at::zeros({1}, at::kLong), at::tensor(lengths, at::kLong).cumsum(0)});
}

/// Explicit softmax of each sequence's scores.
at::Tensor reference(const Tensors& qkv, const std::vector<std::int64_t>& lengths,
                     const AttentionShape& shape) {
  Tensors out;
  std::int64_t begin = 0;
  for (const std::int64_t length : lengths) {
    const auto heads_of = [&](const at::Tensor& x, std::int64_t heads) {
      return x.narrow(0, begin, length)
          .unflatten(-1, {heads, -1})
          .transpose(0, 1)
          .repeat_interleave(shape.heads / heads, 0);
    };
    const at::Tensor ones = at::ones({length, length}, at::kBool);
    at::Tensor hidden = ones.triu(1);
    if (shape.window > 0) hidden = hidden | ones.tril(-shape.window);
    const at::Tensor scores =
        at::matmul(heads_of(qkv[0], shape.heads), heads_of(qkv[1], shape.groups).transpose(1, 2)) *
        shape.scale;
    out.push_back(at::matmul(at::softmax(scores.masked_fill(hidden, -INFINITY), -1),
                             heads_of(qkv[2], shape.groups))
                      .transpose(0, 1)
                      .flatten(1));
    begin += length;
  }
  return at::cat(out);
}

/// The result of fn and the gradients of q, k and v.
template <class Fn>
Tensors with_gradients(const Tensors& qkv, Fn fn) {
  Tensors leaves;
  for (const at::Tensor& each : qkv) leaves.push_back(each.detach().clone().requires_grad_());
  const at::Tensor y = fn(leaves);
  (y.to(at::kDouble) * normal_tensor({y.size(0), y.size(-1)}, 9).to(at::kDouble)).sum().backward();
  Tensors out{y.detach()};
  for (const at::Tensor& leaf : leaves) out.push_back(leaf.grad());
  return out;
}

void compare(const std::vector<std::int64_t>& lengths, const AttentionShape& shape,
             std::int64_t key_dim, std::int64_t value_dim) {
  const at::Tensor starts = starts_of(lengths);
  const std::int64_t rows = starts[-1].item<std::int64_t>();
  const Tensors qkv{normal_tensor({rows, shape.heads * key_dim}, 1),
                    normal_tensor({rows, shape.groups * key_dim}, 2),
                    normal_tensor({rows, shape.groups * value_dim}, 3)};
  for (const auto& [type, tolerance] :
       {std::pair{at::kDouble, 1e-12}, {at::kFloat, 1e-5}, {at::kBFloat16, 2e-2}}) {
    Tensors typed, wide;
    for (const at::Tensor& each : qkv) {
      typed.push_back(each.to(type));
      wide.push_back(typed.back().to(at::kDouble));
    }
    const Tensors got = with_gradients(
        typed, [&](const Tensors& t) { return self_attention(t[0], t[1], t[2], starts, shape); });
    const Tensors expected =
        with_gradients(wide, [&](const Tensors& t) { return reference(t, lengths, shape); });
    for (std::size_t i = 0; i < expected.size(); ++i) {
      EXPECT_EQ(got[i].sizes(), expected[i].sizes());
      const at::Tensor off = (got[i].to(at::kDouble) - expected[i]).norm() / expected[i].norm();
      EXPECT_LT(off.item<double>(), tolerance) << type << " " << i;
    }
  }
}

TEST(SelfAttentionOp, AndItsGradientsEqualAtensOfEachSequence) {
  compare({37, 1, 70, 5}, {4, 2, 0, 0.25}, 16, 24);
  compare({37, 1, 70, 5}, {3, 3, 8, 0.3}, 21, 9);
  compare({0, 12, 12, 0, 12}, {2, 1, 0, 0.5}, 8, 8);
}

TEST(SelfAttentionOp, OfEqualLengthsIsThatOfARaggedBatch) {
  const AttentionShape shape{4, 2, 0, 0.25};
  // Columns of one product, as a model has them.
  const at::Tensor qkv = normal_tensor({3, 40, 8 * 16}, 1);
  const at::Tensor q = qkv.narrow(-1, 0, 64), k = qkv.narrow(-1, 64, 32),
                   v = qkv.narrow(-1, 96, 32);
  const at::Tensor flat = self_attention(q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1),
                                         starts_of({40, 40, 40}), shape);
  EXPECT_TRUE(self_attention(q, k, v, shape).equal(flat.unflatten(0, {3, 40})));
}

TEST(SelfAttentionOp, WrongStartsAreAnError) {
  const at::Tensor x = normal_tensor({6, 8}, 1);
  const auto error = [&](const at::Tensor& starts) {
    return support::error_of([&] { self_attention(x, x, x, starts, {2, 2}); });
  };
  const auto starts = [](std::vector<std::int64_t> values) {
    return at::tensor(values, at::kLong);
  };
  EXPECT_TRUE(support::mentions(error(starts({0, 4})), {"4", "6"}));
  EXPECT_TRUE(support::mentions(error(starts({1, 6})), {"1", "6"}));
  EXPECT_TRUE(support::mentions(error(starts({0, 5, 3, 6})), {"5", "3"}));
  EXPECT_TRUE(support::mentions(error(at::tensor(std::vector<float>{0, 6})), {"int64"}));
}

}  // namespace
}  // namespace moebius::ops
