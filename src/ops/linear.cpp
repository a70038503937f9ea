#include "ops/linear.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "kernels/kernels.h"

namespace moebius::ops {

namespace {

constexpr std::int64_t few_rows = 192;

kernels::WeightType weight_type(at::ScalarType dtype) {
  if (dtype == at::kBFloat16) return kernels::WeightType::bf16;
  return dtype == at::kHalf ? kernels::WeightType::f16 : kernels::WeightType::f32;
}

/// Whether the kernel for few rows serves: f32 activations on the CPU, no gradient to record, and
/// rows of w in one piece.
bool suits_rows_gemm(const at::Tensor& x, const at::Tensor& w) {
  const bool recording = at::GradMode::is_enabled() && (x.requires_grad() || w.requires_grad());
  const at::ScalarType stored = w.scalar_type();
  const bool readable = stored == at::kFloat || stored == at::kHalf || stored == at::kBFloat16;
  return !recording && readable && x.is_cpu() && x.scalar_type() == at::kFloat && w.dim() == 2 &&
         w.stride(1) == 1 && x.numel() / x.size(-1) <= few_rows;
}

at::Tensor rows_gemm(const at::Tensor& x, const at::Tensor& w) {
  const kernels::KernelTable& table = kernel_table();
  const at::Tensor flat = x.reshape({-1, x.size(-1)}).contiguous();
  std::vector<std::int64_t> sizes = x.sizes().vec();
  sizes.back() = w.size(0);
  at::Tensor y = at::empty(sizes, x.options());
  const kernels::RowsGemm args{flat.const_data_ptr<float>(),
                               w.const_data_ptr(),
                               y.mutable_data_ptr<float>(),
                               flat.size(0),
                               w.size(0),
                               flat.size(1),
                               flat.size(1),
                               w.stride(0),
                               w.size(0),
                               weight_type(w.scalar_type())};
  const std::int64_t grain = std::max<std::int64_t>(1, (1 << 17) / (args.m * args.k + 1));
  at::parallel_for(0, args.n, grain, [&](std::int64_t begin, std::int64_t end) {
    table.rows_gemm(args, begin, end);
  });
  return y;
}

}  // namespace

at::Tensor linear(const at::Tensor& x, const Weight& weight, const at::Tensor& bias) {
  const at::Tensor& w = weight.plain();
  if (x.size(-1) != w.size(-1)) {
    fail("[linear] x has {} columns but w takes {}", x.size(-1), w.size(-1));
  }
  if (suits_rows_gemm(x, w)) {
    at::Tensor y = rows_gemm(x, w);
    return bias.defined() ? y.add_(bias) : y;
  }
  const auto as_x = [&](const at::Tensor& t) { return t.defined() ? t.to(x.scalar_type()) : t; };
  return at::linear(x, as_x(w), as_x(bias));
}

at::Tensor embedding(const at::Tensor& ids, const at::Tensor& w, at::ScalarType dtype) {
  return at::embedding(w, ids).to(dtype);
}

at::Tensor norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                NormKind kind, double eps) {
  const at::Tensor x32 = x.to(at::kFloat);
  if (kind == NormKind::layer) {
    return at::layer_norm(x32, {x.size(-1)}, weight.to(at::kFloat), bias.to(at::kFloat), eps)
        .to(x.scalar_type());
  }
  const at::Tensor scale = at::rsqrt(x32.square().mean(-1, /*keepdim=*/true) + eps);
  return (x32 * scale).to(x.scalar_type()) * weight.to(x.scalar_type());
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
