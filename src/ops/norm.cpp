#include "ops/norm.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <optional>

#include "ops/cpu_kernels.h"

namespace moebius::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// Contiguous f32.
at::Tensor values_of(const at::Tensor& weight) {
  return weight.defined() ? weight.to(at::kFloat).contiguous() : weight;
}
const float* pointer(const at::Tensor& values) {
  return values.defined() ? values.const_data_ptr<float>() : nullptr;
}

at::Tensor run(const at::Tensor& x_ND, const at::Tensor& weight, const at::Tensor& bias,
               bool centred, double eps) {
  const at::Tensor x = x_ND.contiguous(), w = values_of(weight), b = values_of(bias);
  at::Tensor y = at::empty_like(x);
  const std::int64_t columns = x.size(-1);
  const kernels::Norm whole{.x = x.const_data_ptr(),
                            .y = y.mutable_data_ptr(),
                            .type = value_type(x),
                            .weight = pointer(w),
                            .bias = pointer(b),
                            .columns = columns,
                            .ldx = columns,
                            .ldy = columns,
                            .eps = static_cast<float>(eps),
                            .centred = centred};
  const CpuKernels cpu;
  RowPieces(x.numel() / columns, columns)
      .run(cpu, [&](std::int64_t begin, std::int64_t rows, auto) {
        kernels::Norm part = whole;
        part.x = kernels::at(whole.x, whole.type, begin * columns);
        part.y = kernels::at(whole.y, whole.type, begin * columns);
        part.m = rows;
        cpu->table.norm(part);
      });
  return y;
}

struct NormGradients {
  at::Tensor x, weight, bias;
};

NormGradients backward(const at::Tensor& x_ND, const at::Tensor& dy_ND, const at::Tensor& weight,
                       bool biased, bool centred, double eps) {
  const at::Tensor x = x_ND.contiguous(), dy = dy_ND.contiguous(), w = values_of(weight);
  const std::int64_t columns = x.size(-1);
  const RowPieces pieces(x.numel() / columns, columns);
  NormGradients out{at::empty_like(x), at::zeros({columns}, at::kFloat), {}};
  // One accumulator per piece of rows, summed in order.
  const at::Tensor dweights = at::zeros({pieces.count, columns}, at::kFloat);
  const at::Tensor dbiases = biased ? at::zeros_like(dweights) : at::Tensor();
  {
    const CpuKernels cpu;
    const kernels::ValueType type = value_type(x);
    pieces.run(cpu, [&](std::int64_t begin, std::int64_t count, std::int64_t piece) {
      const std::int64_t value = begin * columns, sum = piece * columns;
      cpu->table.norm_backward({.x = kernels::at(x.const_data_ptr(), type, value),
                                .dy = kernels::at(dy.const_data_ptr(), type, value),
                                .dx = kernels::at(out.x.mutable_data_ptr(), type, value),
                                .type = type,
                                .weight = pointer(w),
                                .dweight = dweights.mutable_data_ptr<float>() + sum,
                                .dbias = biased ? dbiases.mutable_data_ptr<float>() + sum : nullptr,
                                .m = count,
                                .columns = columns,
                                .eps = static_cast<float>(eps),
                                .centred = centred});
    });
  }
  const auto sum = [&](const at::Tensor& parts) {
    at::Tensor total = at::zeros({columns}, at::kFloat);
    for (std::int64_t p = 0; p < pieces.count; ++p) total += parts[p];
    return total;
  };
  out.weight = sum(dweights);
  if (biased) out.bias = sum(dbiases);
  return out;
}

class NormFunction : public torch::autograd::Function<NormFunction> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight,
                            const std::optional<at::Tensor>& bias, bool centred, double eps) {
    ctx->save_for_backward({x, weight});
    ctx->saved_data["bias"] = bias.has_value();
    ctx->saved_data["centred"] = centred;
    ctx->saved_data["eps"] = eps;
    return run(x, weight, bias.value_or(at::Tensor()), centred, eps);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& gradients) {
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1];
    NormGradients d =
        ops::backward(x, gradients[0], weight, ctx->saved_data["bias"].toBool(),
                      ctx->saved_data["centred"].toBool(), ctx->saved_data["eps"].toDouble());
    const auto like_weight = [&](const at::Tensor& t) {
      return t.defined() ? t.to(weight.scalar_type()) : t;
    };
    return {d.x, like_weight(d.weight), like_weight(d.bias), {}, {}};
  }
};

}  // namespace

at::Tensor norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                NormKind kind, double eps) {
  const bool centred = kind == NormKind::layer;
  if (kernels_serve(x, x)) {
    if (!recording({x, weight, bias})) return run(x, weight, bias, centred, eps);
    return NormFunction::apply(x, weight, bias.defined() ? std::optional(bias) : std::nullopt,
                               centred, eps);
  }
  const at::Tensor x32 = x.to(at::kFloat);
  if (centred) {
    return at::layer_norm(x32, {x.size(-1)}, weight.to(at::kFloat), bias.to(at::kFloat), eps)
        .to(x.scalar_type());
  }
  const at::Tensor scale = at::rsqrt(x32.square().mean(-1, /*keepdim=*/true) + eps);
  return (x32 * scale).to(x.scalar_type()) * weight.to(x.scalar_type());
}

}  // namespace moebius::ops
