#include "ops/self_attention.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "base/error.h"
#include "kernels/self_attention.h"
#include "ops/cpu_kernels.h"

namespace moebius::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

std::span<const std::int64_t> values_of(const at::Tensor& starts) {
  return {starts.const_data_ptr<std::int64_t>(), static_cast<std::size_t>(starts.numel())};
}

/// Checked, so that neither kernels nor loops read beyond the rows.
at::Tensor checked_starts(const at::Tensor& starts, std::int64_t rows) {
  if (!starts.is_cpu() || starts.scalar_type() != at::kLong || starts.dim() != 1 ||
      starts.numel() == 0) {
    fail("[self_attention] sequence_starts has to be one dimension of int64 on the CPU");
  }
  at::Tensor out = starts.contiguous();
  std::int64_t last = 0;
  for (const std::int64_t start : values_of(out)) {
    if (start < last) {
      fail("[self_attention] sequence_starts falls from {} to {}", last, start);
    }
    last = start;
  }
  if (values_of(out)[0] != 0 || last != rows) {
    fail("[self_attention] sequence_starts goes from {} to {}, and there are {} rows",
         values_of(out)[0], last, rows);
  }
  return out;
}

void check_shapes(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                  const AttentionShape& shape) {
  if (q.dim() != 2 || k.dim() != 2 || v.dim() != 2 || k.size(0) != q.size(0) ||
      v.size(0) != q.size(0)) {
    fail("[self_attention] q, k and v have to be matrices with one row a token");
  }
  if (q.size(1) % shape.heads != 0 || k.size(1) % shape.groups != 0 ||
      v.size(1) % shape.groups != 0 || shape.heads % shape.groups != 0 ||
      q.size(1) / shape.heads != k.size(1) / shape.groups) {
    fail("[self_attention] q, k, v have {}, {}, {} columns, which {} heads of {} groups do not fit",
         q.size(1), k.size(1), v.size(1), shape.heads, shape.groups);
  }
}

kernels::SelfAttention arguments(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                 const at::Tensor& starts, const AttentionShape& shape) {
  return {.q = q.const_data_ptr(),
          .k = k.const_data_ptr(),
          .v = v.const_data_ptr(),
          .ldq = q.stride(0),
          .ldk = k.stride(0),
          .ldv = v.stride(0),
          .type = value_type(q),
          .sequence_starts = values_of(starts),
          .heads = shape.heads,
          .groups = shape.groups,
          .key_dim = q.size(1) / shape.heads,
          .value_dim = v.size(1) / shape.groups,
          .window = shape.window,
          .scale = static_cast<float>(shape.scale)};
}

/// y, and the logarithms of the softmax denominators [H, N].
std::pair<at::Tensor, at::Tensor> run(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                      const at::Tensor& starts, const AttentionShape& shape) {
  const kernels::SelfAttention args = arguments(q, k, v, starts, shape);
  at::Tensor y = at::empty({q.size(0), args.heads * args.value_dim}, q.options());
  at::Tensor log_sums = at::empty({args.heads, q.size(0)}, at::kFloat);
  const CpuKernels cpu;
  kernels::self_attention(cpu, args, y.mutable_data_ptr(), log_sums.mutable_data_ptr<float>());
  return {std::move(y), std::move(log_sums)};
}

class SelfAttentionFunction : public torch::autograd::Function<SelfAttentionFunction> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& q, const at::Tensor& k,
                            const at::Tensor& v, const at::Tensor& starts, std::int64_t heads,
                            std::int64_t groups, std::int64_t window, double scale) {
    auto [y, log_sums] = run(q, k, v, starts, {heads, groups, window, scale});
    ctx->save_for_backward({q, k, v, log_sums, starts});
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
        arguments(q, k, v, saved[4],
                  {ctx->saved_data["heads"].toInt(), ctx->saved_data["groups"].toInt(),
                   ctx->saved_data["window"].toInt(), ctx->saved_data["scale"].toDouble()});
    {
      const CpuKernels cpu;
      kernels::self_attention_backward(cpu, args, saved[3].const_data_ptr<float>(),
                                       dy.const_data_ptr(), dq.mutable_data_ptr(),
                                       dk.mutable_data_ptr(), dv.mutable_data_ptr());
    }
    variable_list out{std::move(dq), std::move(dk), std::move(dv)};
    out.resize(8);
    return out;
  }
};

/// B sequences of S tokens: [B, S, H V].
at::Tensor of_equal_lengths(const at::Tensor& q_BSX, const at::Tensor& k_BSX,
                            const at::Tensor& v_BSX, const AttentionShape& shape) {
  const auto split = [](const at::Tensor& x, std::int64_t heads) {
    return x.unflatten(-1, {heads, -1}).transpose(1, 2);
  };
  const std::int64_t tokens = q_BSX.size(1);
  std::optional<at::Tensor> mask;
  if (shape.window > 0 && shape.window < tokens) {
    mask =
        at::ones({tokens, tokens}, q_BSX.options().dtype(at::kBool)).tril().triu(1 - shape.window);
  }
  return at::scaled_dot_product_attention(split(q_BSX, shape.heads), split(k_BSX, shape.groups),
                                          split(v_BSX, shape.groups), mask, 0.0, !mask.has_value(),
                                          shape.scale, /*enable_gqa=*/shape.heads != shape.groups)
      .transpose(1, 2)
      .flatten(2);
}

/// Whatever the type and the device.
at::Tensor by_sequence(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                       const at::Tensor& starts, const AttentionShape& shape) {
  const std::span<const std::int64_t> borders = values_of(starts);
  std::vector<std::int64_t> lengths;
  for (std::size_t i = 0; i + 1 < borders.size(); ++i) {
    const std::int64_t length = borders[i + 1] - borders[i];
    if (length > 0) lengths.push_back(length);
  }
  if (lengths.empty()) return at::empty({0, v.size(1) / shape.groups * shape.heads}, q.options());
  const auto parts = [&](const at::Tensor& x) { return x.split_with_sizes(lengths); };
  if (std::adjacent_find(lengths.begin(), lengths.end(), std::not_equal_to<>()) == lengths.end()) {
    const auto batch = [&](const at::Tensor& x) { return x.unflatten(0, {-1, lengths[0]}); };
    return of_equal_lengths(batch(q), batch(k), batch(v), shape).flatten(0, 1);
  }
  const std::vector<at::Tensor> q_parts = parts(q), k_parts = parts(k), v_parts = parts(v);
  std::vector<at::Tensor> y;
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    y.push_back(of_equal_lengths(q_parts[i].unsqueeze(0), k_parts[i].unsqueeze(0),
                                 v_parts[i].unsqueeze(0), shape)
                    .squeeze(0));
  }
  return at::cat(y);
}

}  // namespace

bool suits_self_attention(const at::Tensor& q) {
  return kernels_serve(q, q);
}

at::Tensor self_attention(const at::Tensor& q_NX, const at::Tensor& k_NX, const at::Tensor& v_NX,
                          const at::Tensor& sequence_starts, const AttentionShape& shape) {
  check_shapes(q_NX, k_NX, v_NX, shape);
  const at::Tensor starts = checked_starts(sequence_starts, q_NX.size(0));
  if (!suits_self_attention(q_NX)) return by_sequence(q_NX, k_NX, v_NX, starts, shape);
  const at::Tensor q = in_rows(q_NX), k = in_rows(k_NX), v = in_rows(v_NX);
  if (!recording({q, k, v})) return run(q, k, v, starts, shape).first;
  return SelfAttentionFunction::apply(q, k, v, starts, shape.heads, shape.groups, shape.window,
                                      shape.scale);
}

at::Tensor self_attention(const at::Tensor& q_BSX, const at::Tensor& k_BSX, const at::Tensor& v_BSX,
                          const AttentionShape& shape) {
  const std::int64_t sequences = q_BSX.size(0), tokens = q_BSX.size(1);
  const at::Tensor starts = at::arange(sequences + 1, at::kLong) * tokens;
  return self_attention(q_BSX.flatten(0, 1), k_BSX.flatten(0, 1), v_BSX.flatten(0, 1), starts,
                        shape)
      .unflatten(0, {sequences, tokens});
}

}  // namespace moebius::ops
