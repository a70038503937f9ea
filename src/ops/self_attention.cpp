#include "ops/self_attention.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "kernels/self_attention.h"
#include "ops/cpu_kernels.h"

namespace moebius::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

kernels::SelfAttention arguments(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                 const AttentionShape& shape) {
  return {.q = q.const_data_ptr(),
          .k = k.const_data_ptr(),
          .v = v.const_data_ptr(),
          .ldq = q.stride(1),
          .ldk = k.stride(1),
          .ldv = v.stride(1),
          .type = value_type(q),
          .sequences = q.size(0),
          .tokens = q.size(1),
          .heads = shape.heads,
          .groups = shape.groups,
          .key_dim = q.size(2) / shape.heads,
          .value_dim = v.size(2) / shape.groups,
          .window = shape.window,
          .scale = static_cast<float>(shape.scale)};
}

/// y, and the logarithms of its sums [B, H, S].
std::pair<at::Tensor, at::Tensor> run(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                      const AttentionShape& shape) {
  const kernels::SelfAttention args = arguments(q, k, v, shape);
  at::Tensor y = at::empty({q.size(0), q.size(1), args.heads * args.value_dim}, q.options());
  at::Tensor log_sums = at::empty({q.size(0), args.heads, q.size(1)}, at::kFloat);
  const CpuKernels cpu;
  kernels::self_attention(cpu, args, y.mutable_data_ptr(), log_sums.mutable_data_ptr<float>());
  return {std::move(y), std::move(log_sums)};
}

class SelfAttentionFunction : public torch::autograd::Function<SelfAttentionFunction> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& q, const at::Tensor& k,
                            const at::Tensor& v, std::int64_t heads, std::int64_t groups,
                            std::int64_t window, double scale) {
    auto [y, log_sums] = run(q, k, v, {heads, groups, window, scale});
    ctx->save_for_backward({q, k, v, log_sums});
    ctx->saved_data["heads"] = heads;
    ctx->saved_data["groups"] = groups;
    ctx->saved_data["window"] = window;
    ctx->saved_data["scale"] = scale;
    return y;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& gradients) {
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor &q = saved[0], &k = saved[1], &v = saved[2];
    const at::Tensor dy = gradients[0].contiguous();
    at::Tensor dq = at::empty_like(q, at::MemoryFormat::Contiguous);
    at::Tensor dk = at::empty_like(k, at::MemoryFormat::Contiguous);
    at::Tensor dv = at::empty_like(v, at::MemoryFormat::Contiguous);
    const kernels::SelfAttention args =
        arguments(q, k, v,
                  {ctx->saved_data["heads"].toInt(), ctx->saved_data["groups"].toInt(),
                   ctx->saved_data["window"].toInt(), ctx->saved_data["scale"].toDouble()});
    {
      const CpuKernels cpu;
      kernels::self_attention_backward(cpu, args, saved[3].const_data_ptr<float>(),
                                       dy.const_data_ptr(), dq.mutable_data_ptr(),
                                       dk.mutable_data_ptr(), dv.mutable_data_ptr());
    }
    variable_list out{std::move(dq), std::move(dk), std::move(dv)};
    out.resize(7);
    return out;
  }
};

}  // namespace

bool suits_self_attention(const at::Tensor& q) {
  return kernels_serve(q, q);
}

at::Tensor self_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                          const AttentionShape& shape) {
  const at::Tensor q_rows = in_rows(q), k_rows = in_rows(k), v_rows = in_rows(v);
  if (!recording({q, k, v})) return run(q_rows, k_rows, v_rows, shape).first;
  return SelfAttentionFunction::apply(q_rows, k_rows, v_rows, shape.heads, shape.groups,
                                      shape.window, shape.scale);
}

}  // namespace moebius::ops
