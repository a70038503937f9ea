#include "ops/token_log_probs.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "base/error.h"
#include "ops/cpu_kernels.h"

namespace moebius::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// log sum_v e^(scale scores_NV) of each row: f32 [N].
at::Tensor log_sums(const at::Tensor& scores_NV, double scale) {
  const std::int64_t rows = scores_NV.size(0), columns = scores_NV.size(1);
  at::Tensor max = at::empty({rows}, at::kFloat), sum = at::empty({rows}, at::kFloat);
  const kernels::ValueType type = value_type(scores_NV);
  const CpuKernels cpu;
  RowPieces(rows, columns).run(cpu, [&](std::int64_t begin, std::int64_t count, auto) {
    cpu->table.sum_exp({.scores = kernels::at(scores_NV.const_data_ptr(), type, begin * columns),
                        .type = type,
                        .scale = static_cast<float>(scale),
                        .max = max.mutable_data_ptr<float>() + begin,
                        .sum = sum.mutable_data_ptr<float>() + begin,
                        .m = count,
                        .columns = columns,
                        .ld = columns});
  });
  return max + sum.log();
}

class TokenLogProbsFunction : public torch::autograd::Function<TokenLogProbsFunction> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& scores_NV,
                            const at::Tensor& targets_N, double scale) {
    const at::Tensor sums = log_sums(scores_NV, scale);
    ctx->save_for_backward({scores_NV, targets_N, sums});
    ctx->saved_data["scale"] = scale;
    const at::Tensor chosen = scores_NV.gather(1, targets_N.unsqueeze(1)).squeeze(1);
    return chosen.to(at::kDouble) * scale - sums.to(at::kDouble);
  }

  /// d log p_t / d score_v = scale ([v = t] - p_v): minus the gradient of the cross entropy.
  static variable_list backward(AutogradContext* ctx, const variable_list& gradients) {
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor &scores_NV = saved[0], &targets_N = saved[1], &sums = saved[2];
    const double scale = ctx->saved_data["scale"].toDouble();
    const at::Tensor factors_N = (gradients[0] * -scale).to(at::kFloat).contiguous();
    const std::int64_t rows = scores_NV.size(0), columns = scores_NV.size(1);
    at::Tensor dscores = at::empty_like(scores_NV);
    const kernels::ValueType type = value_type(scores_NV);
    const CpuKernels cpu;
    RowPieces(rows, columns).run(cpu, [&](std::int64_t begin, std::int64_t count, auto) {
      for (std::int64_t row = begin; row < begin + count; ++row) {
        cpu->table.cross_entropy_backward(
            {.scores = kernels::at(scores_NV.const_data_ptr(), type, row * columns),
             .dscores = kernels::at(dscores.mutable_data_ptr(), type, row * columns),
             .type = type,
             .log_sums = sums.const_data_ptr<float>() + row,
             .targets = targets_N.const_data_ptr<std::int64_t>() + row,
             .scale = static_cast<float>(scale),
             .factor = factors_N.const_data_ptr<float>()[row],
             .m = 1,
             .columns = columns,
             .ld = columns});
      }
    });
    return {dscores, {}, {}};
  }
};

}  // namespace

at::Tensor token_log_probs(const at::Tensor& scores_NV, const at::Tensor& targets_N, double scale) {
  const auto [smallest, largest] = at::aminmax(targets_N);
  if (smallest.item<std::int64_t>() < 0 || largest.item<std::int64_t>() >= scores_NV.size(1)) {
    fail("[token_log_probs] targets from {} to {}, and there are {} scores",
         smallest.item<std::int64_t>(), largest.item<std::int64_t>(), scores_NV.size(1));
  }
  if (!kernels_serve(scores_NV, scores_NV)) {
    const auto type = scores_NV.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
    return at::log_softmax(scores_NV.to(type) * scale, -1)
        .gather(1, targets_N.unsqueeze(1))
        .squeeze(1)
        .to(at::kDouble);
  }
  return TokenLogProbsFunction::apply(scores_NV.contiguous(), targets_N.contiguous(), scale);
}

}  // namespace moebius::ops
