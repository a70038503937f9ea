#include "ops/cross_entropy.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "base/error.h"
#include "ops/cpu_kernels.h"

namespace moebius::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// Logarithms of the rows' sums of e^(scale score).
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

class CrossEntropyFunction : public torch::autograd::Function<CrossEntropyFunction> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& scores_NV,
                            const at::Tensor& targets_N, double scale) {
    const at::Tensor sums = log_sums(scores_NV, scale);
    ctx->save_for_backward({scores_NV, targets_N, sums});
    ctx->saved_data["scale"] = scale;
    const at::Tensor chosen = scores_NV.gather(1, targets_N.unsqueeze(1)).squeeze(1);
    return (sums.to(at::kDouble) - chosen.to(at::kDouble) * scale).mean().to(at::kFloat);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& gradients) {
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor &scores_NV = saved[0], &targets_N = saved[1], &sums = saved[2];
    const double scale = ctx->saved_data["scale"].toDouble();
    const std::int64_t rows = scores_NV.size(0), columns = scores_NV.size(1);
    const double factor = gradients[0].item<double>() * scale / static_cast<double>(rows);
    at::Tensor dscores = at::empty_like(scores_NV);
    const kernels::ValueType type = value_type(scores_NV);
    const CpuKernels cpu;
    RowPieces(rows, columns).run(cpu, [&](std::int64_t begin, std::int64_t count, auto) {
      cpu->table.cross_entropy_backward(
          {.scores = kernels::at(scores_NV.const_data_ptr(), type, begin * columns),
           .dscores = kernels::at(dscores.mutable_data_ptr(), type, begin * columns),
           .type = type,
           .log_sums = sums.const_data_ptr<float>() + begin,
           .targets = targets_N.const_data_ptr<std::int64_t>() + begin,
           .scale = static_cast<float>(scale),
           .factor = static_cast<float>(factor),
           .m = count,
           .columns = columns,
           .ld = columns});
    });
    return {dscores, {}, {}};
  }
};

}  // namespace

at::Tensor cross_entropy(const at::Tensor& scores_NV, const at::Tensor& targets_N, double scale) {
  if (!kernels_serve(scores_NV, scores_NV)) {
    return at::cross_entropy_loss(scores_NV.to(at::kFloat) * scale, targets_N);
  }
  const auto [least, most] = at::aminmax(targets_N);
  if (least.item<std::int64_t>() < 0 || most.item<std::int64_t>() >= scores_NV.size(1)) {
    fail("[cross_entropy] targets from {} to {}, and there are {} scores",
         least.item<std::int64_t>(), most.item<std::int64_t>(), scores_NV.size(1));
  }
  return CrossEntropyFunction::apply(scores_NV.contiguous(), targets_N.contiguous(), scale);
}

}  // namespace moebius::ops
