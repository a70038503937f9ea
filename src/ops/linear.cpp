#include "ops/linear.h"

#include <ATen/ATen.h>

#include "base/error.h"

namespace moebius::ops {

at::Tensor linear(const at::Tensor& x, const at::Tensor& w, const at::Tensor& bias) {
  if (x.size(-1) != w.size(-1)) {
    fail("[linear] x has {} columns but w takes {}", x.size(-1), w.size(-1));
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
    case Activation::silu: return at::silu(x);
    case Activation::gelu_tanh: return at::gelu(x, "tanh");
    case Activation::gelu_erf: return at::gelu(x);
    case Activation::relu: return at::relu(x);
  }
  fail("[activate] unknown activation");
}

}  // namespace moebius::ops
