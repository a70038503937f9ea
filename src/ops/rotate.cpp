#include "ops/rotate.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "base/error.h"
#include "ops/cpu_kernels.h"

namespace moebius::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::Tensor run(const at::Tensor& given, const at::Tensor& cos_SP, const at::Tensor& sin_SP,
               std::int64_t heads, bool interleaved, bool inverse) {
  const at::Tensor x = in_rows(given);
  at::Tensor y = at::empty(x.sizes(), x.options());
  const std::int64_t tokens = x.size(-2), columns = x.size(-1), ld = x.stride(-2);
  const auto* cos = cos_SP.const_data_ptr<float>();
  const auto* sin = sin_SP.const_data_ptr<float>();
  const kernels::ValueType type = value_type(x);
  const CpuKernels cpu;
  const RowPieces pieces(x.numel() / columns, columns);
  pieces.run(cpu, [&](std::int64_t begin, std::int64_t rows, auto) {
    for (std::int64_t row = begin; row < begin + rows; ++row) {
      const std::int64_t angles = row % tokens * cos_SP.size(1);
      cpu->table.rotate({.x = kernels::at(x.const_data_ptr(), type, row * ld),
                         .y = kernels::at(y.mutable_data_ptr(), type, row * columns),
                         .type = type,
                         .cos = cos + angles,
                         .sin = sin + angles,
                         .m = 1,
                         .heads = heads,
                         .dim = columns / heads,
                         .half = cos_SP.size(1),
                         .ldx = ld,
                         .ldy = columns,
                         .interleaved = interleaved,
                         .inverse = inverse});
    }
  });
  return y;
}

class RotateFunction : public torch::autograd::Function<RotateFunction> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& cos_SP,
                            const at::Tensor& sin_SP, std::int64_t heads, bool interleaved) {
    ctx->save_for_backward({cos_SP, sin_SP});
    ctx->saved_data["heads"] = heads;
    ctx->saved_data["interleaved"] = interleaved;
    return run(x, cos_SP, sin_SP, heads, interleaved, false);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& gradients) {
    const variable_list saved = ctx->get_saved_variables();
    return {run(gradients[0], saved[0], saved[1], ctx->saved_data["heads"].toInt(),
                ctx->saved_data["interleaved"].toBool(), true),
            {},
            {},
            {},
            {}};
  }
};

}  // namespace

at::Tensor rotate(const at::Tensor& x, const at::Tensor& cos_SP, const at::Tensor& sin_SP,
                  std::int64_t heads, bool interleaved) {
  if (cos_SP.size(0) != x.size(-2) || sin_SP.sizes() != cos_SP.sizes()) {
    fail("[rotate] x has {} rows, cos {} and sin {}", x.size(-2), cos_SP.size(0), sin_SP.size(0));
  }
  if (kernels_serve(x, x)) {
    if (!recording({x})) return run(x, cos_SP, sin_SP, heads, interleaved, false);
    return RotateFunction::apply(x, cos_SP, sin_SP, heads, interleaved);
  }
  const at::Tensor x_SHA = x.unflatten(-1, {heads, -1});
  const std::int64_t half = cos_SP.size(1), stays = x_SHA.size(-1) - 2 * half;
  at::Tensor moved = x_SHA.narrow(-1, stays, 2 * half).to(at::kFloat);
  if (interleaved) moved = moved.unflatten(-1, {half, 2}).transpose(-1, -2).flatten(-2);
  const at::Tensor u = moved.narrow(-1, 0, half), v = moved.narrow(-1, half, half);
  const at::Tensor cos = cos_SP.unsqueeze(1), sin = sin_SP.unsqueeze(1);
  const at::Tensor y = at::cat({u * cos - v * sin, v * cos + u * sin}, -1).to(x.scalar_type());
  return (stays == 0 ? y : at::cat({x_SHA.narrow(-1, 0, stays), y}, -1)).flatten(-2);
}

}  // namespace moebius::ops
