#include "ops/linear.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "base/error.h"
#include "kernels/linear.h"
#include "ops/cpu_kernels.h"
#include "ops/saved_value.h"

namespace moebius::ops {

namespace {

/// a [M, K] times b [N, K] transposed: [M, N], of the type of a; sums in f32. A gradient of weights
/// is not read before the optimiser's step, so it is written with non-temporal stores.
at::Tensor product(const at::Tensor& a, const at::Tensor& b, bool weight_gradient = false) {
  const at::Tensor left = strided(a), right = strided(b);
  at::Tensor y = at::empty({left.size(0), right.size(0)}, left.options());
  const kernels::Product args{
      .w = {.shape = {compute_type(left), right.size(0), right.size(1)}, .plain = plain_of(right)},
      .y = y.mutable_data_ptr(),
      .ldy = y.size(1),
      .type = value_type(y),
      .non_temporal =
          weight_gradient && static_cast<std::int64_t>(y.nbytes()) > kernels::non_temporal_bytes};
  const CpuKernels cpu;
  kernels::linear(cpu, plain_of(left), left.size(0), {&args, 1});
  return y;
}

/// x [M, K] times w [N, K] transposed, of one type.
class ProductFunction : public torch::autograd::Function<ProductFunction> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* ctx, const at::Tensor& x,
                            const at::Tensor& w) {
    ctx->save_for_backward({x, w});
    return product(x, w);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 const torch::autograd::variable_list& gradients) {
    const auto saved = ctx->get_saved_variables();
    const at::Tensor &x = saved[0], &w = saved[1], &dy = gradients[0];
    return {ctx->needs_input_grad(0) ? product(dy, w.t()) : at::Tensor(),
            ctx->needs_input_grad(1) ? product(dy.t(), x.t(), true) : at::Tensor()};
  }
};

/// x [M, K], f32 or bf16, times a matrix w transposed: [M, N], of the type of x. `type` is the one
/// that w takes x in.
at::Tensor product(const at::Tensor& x, const kernels::Matrix& w, at::ScalarType type) {
  const at::Tensor rows = x.to(type).contiguous();
  at::Tensor y = at::empty({rows.size(0), w.shape.n}, x.options());
  const kernels::Product args{
      .w = w, .y = y.mutable_data_ptr(), .ldy = w.shape.n, .type = value_type(y)};
  const CpuKernels cpu;
  kernels::linear(cpu, plain_of(rows), rows.size(0), {&args, 1});
  return y;
}

/// x [M, K] times a packed w [N, K] transposed.
class PackedProductFunction : public torch::autograd::Function<PackedProductFunction> {
 public:
  using Packed = std::shared_ptr<const PackedWeight>;

  static at::Tensor forward(torch::autograd::AutogradContext* ctx, const at::Tensor& x,
                            const Packed& w) {
    ctx->saved_data["w"] = saved(w);
    return run(x, *w);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 const torch::autograd::variable_list& gradients) {
    const kernels::Matrix w = value_of<Packed>(ctx->saved_data["w"])->matrix();
    const kernels::PackedType type = kernels::gradient_type(w);
    const auto dtype = type == kernels::PackedType::bf16 ? at::kBFloat16 : at::kFloat;
    return {product(gradients[0], kernels::transposed(w, type), dtype), {}};
  }

  /// Matrices in bf16 take rows of bf16 as they are; others quantise or read f32.
  static at::Tensor run(const at::Tensor& x, const PackedWeight& w) {
    const bool as_stored = w.shape().type == kernels::PackedType::bf16;
    return product(x, w.matrix(), as_stored ? x.scalar_type() : at::kFloat);
  }
};

at::Tensor packed_linear(const at::Tensor& x, const Weight& weight, const at::Tensor& bias) {
  const PackedWeight& w = *weight.packed();
  if (x.size(-1) != w.shape().k) {
    fail("[linear] x has {} columns but w takes {}", x.size(-1), w.shape().k);
  }
  if (w.count() != 1 || !kernels_serve_packed(x)) {
    fail("[linear] a packed weight multiplies f32 or bf16 on the CPU, and is one matrix");
  }
  std::vector<std::int64_t> sizes = x.sizes().vec();
  sizes.back() = w.shape().n;
  const at::Tensor flat = x.reshape({-1, x.size(-1)});
  const at::Tensor y = recording({x}) ? PackedProductFunction::apply(flat, weight.shared_packed())
                                      : PackedProductFunction::run(flat, w);
  return bias.defined() ? y.view(sizes) + bias.to(x.scalar_type()) : y.view(sizes);
}

}  // namespace

at::Tensor linear(const at::Tensor& x, const Weight& weight, const at::Tensor& bias) {
  if (weight.packed() != nullptr) return packed_linear(x, weight, bias);
  const at::Tensor& w = weight.plain();
  if (x.size(-1) != w.size(-1)) {
    fail("[linear] x has {} columns but w takes {}", x.size(-1), w.size(-1));
  }
  const auto as_x = [&](const at::Tensor& t) { return t.defined() ? t.to(x.scalar_type()) : t; };
  if (w.dim() != 2 || !kernels_serve(x, w)) return at::linear(x, as_x(w), as_x(bias));
  std::vector<std::int64_t> sizes = x.sizes().vec();
  sizes.back() = w.size(0);
  const at::Tensor flat = x.reshape({-1, x.size(-1)});
  const at::Tensor y =
      (recording({x, w}) ? ProductFunction::apply(flat, as_x(w)) : product(flat, w)).view(sizes);
  return bias.defined() ? y + as_x(bias) : y;
}

at::Tensor embedding(const at::Tensor& ids, const at::Tensor& w, at::ScalarType dtype) {
  return at::embedding(w, ids).to(dtype);
}

at::Tensor activate(const at::Tensor& x, Activation activation) {
  switch (activation) {
    case Activation::silu:
      return at::silu(x);
    case Activation::gelu_tanh:
      return at::gelu(x, "tanh");
    case Activation::gelu_erf:
      return at::gelu(x);
    case Activation::relu:
      return at::relu(x);
  }
  fail("[activate] unknown activation");
}

}  // namespace moebius::ops
