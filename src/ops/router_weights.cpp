#include "ops/router_weights.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <optional>
#include <vector>

#include "base/error.h"
#include "kernels/router_weighting.h"
#include "kernels/routing.h"
#include "ops/cpu_kernels.h"

namespace moebius::ops {
namespace {

using kernels::RouterWeighting;
using kernels::RouterWeights;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

kernels::RoutingRule rule_of(const at::Tensor& logits_TE, const at::Tensor& ids_TK,
                             std::int64_t kind, double factor) {
  return {.experts = logits_TE.size(1),
          .top_k = ids_TK.size(1),
          .kind = static_cast<RouterWeights>(kind),
          .factor = static_cast<float>(factor)};
}

const float* data_of(const at::Tensor& t) {
  return t.defined() ? t.const_data_ptr<float>() : nullptr;
}

/// Contiguous f32 logits and scale, int32 ids.
at::Tensor run(const at::Tensor& logits_TE, const at::Tensor& ids_TK, const at::Tensor& scale_E,
               std::int64_t kind, double factor) {
  at::Tensor weights = at::empty(ids_TK.sizes(), logits_TE.options());
  const kernels::RoutingRule rule = rule_of(logits_TE, ids_TK, kind, factor);
  const auto* logits = data_of(logits_TE);
  const auto* ids = ids_TK.const_data_ptr<std::int32_t>();
  const float* scale = data_of(scale_E);
  auto* to = weights.mutable_data_ptr<float>();
  const CpuKernels cpu;
  const RowPieces pieces(logits_TE.size(0), rule.experts);
  pieces.run(cpu, [&](std::int64_t begin, std::int64_t rows, auto) {
    kernels::weigh(rule, logits + begin * rule.experts, rows, scale, ids + begin * rule.top_k,
                   to + begin * rule.top_k);
  });
  return weights;
}

class RouterWeightsFunction : public torch::autograd::Function<RouterWeightsFunction> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& logits_TE,
                            const at::Tensor& ids_TK, const std::optional<at::Tensor>& scale_E,
                            std::int64_t kind, double factor) {
    const at::Tensor scale = scale_E.value_or(at::Tensor());
    ctx->save_for_backward({logits_TE, ids_TK, scale});
    ctx->saved_data["kind"] = kind;
    ctx->saved_data["factor"] = factor;
    return run(logits_TE, ids_TK, scale, kind, factor);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& gradients) {
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor &logits = saved[0], &ids = saved[1], &scale = saved[2];
    const at::Tensor dweights = gradients[0].contiguous();
    const kernels::RoutingRule rule =
        rule_of(logits, ids, ctx->saved_data["kind"].toInt(), ctx->saved_data["factor"].toDouble());
    at::Tensor dlogits = at::zeros_like(logits), dscale;
    const RowPieces pieces(logits.size(0), rule.experts);
    // A row for each piece, summed in their order, which does not depend on threads.
    if (scale.defined()) dscale = at::zeros({pieces.count, rule.experts}, logits.options());
    {
      const CpuKernels cpu;
      pieces.run(cpu, [&](std::int64_t begin, std::int64_t rows, std::int64_t piece) {
        kernels::weigh_backward(
            {.rule = rule,
             .tokens = rows,
             .logits = data_of(logits) + begin * rule.experts,
             .scale = data_of(scale),
             .dweights = data_of(dweights) + begin * rule.top_k,
             .ids = ids.const_data_ptr<std::int32_t>() + begin * rule.top_k,
             .dlogits = dlogits.mutable_data_ptr<float>() + begin * rule.experts,
             .dscale = dscale.defined() ? dscale.mutable_data_ptr<float>() + piece * rule.experts
                                        : nullptr});
      });
    }
    return {dlogits, {}, dscale.defined() ? dscale.sum(0) : dscale, {}, {}};
  }
};

/// The same formulas in operations of ATen.
at::Tensor with_aten(const at::Tensor& logits_TE, const at::Tensor& ids_TK,
                     const RouterWeighting& weighting, const at::Tensor& scale_E, double factor) {
  using Domain = RouterWeighting::Domain;
  using Score = RouterWeighting::Score;
  const bool all = weighting.domain == Domain::all;
  const at::Tensor s = all ? logits_TE : logits_TE.gather(1, ids_TK);
  at::Tensor share;
  if (weighting.score == Score::exponential) {
    share = weighting.domain == Domain::none ? s.exp() : at::softmax(s, -1);
  } else {
    share = weighting.score == Score::sigmoid ? at::sigmoid(s) : at::ones_like(s);
    if (weighting.domain != Domain::none) {
      share = share / (share.sum(-1, /*keepdim=*/true) + weighting.epsilon);
    }
  }
  if (weighting.learned && all) share = share * scale_E.to(s.scalar_type());
  share = all ? share.gather(1, ids_TK) : share;
  if (weighting.learned) {
    if (!all) share = share * scale_E.to(s.scalar_type()).index({ids_TK});
    share = 1 + share;
  }
  return factor == 1.0 ? share : share * factor;
}

void check(const at::Tensor& logits_TE, const at::Tensor& ids_TK, const at::Tensor& scale_E,
           const RouterWeighting& weighting) {
  if (ids_TK.dim() != 2 || logits_TE.dim() != 2 || ids_TK.size(0) != logits_TE.size(0)) {
    fail("[router_weights] logits have {} rows, ids {}", logits_TE.size(0), ids_TK.size(0));
  }
  if (weighting.learned && (!scale_E.defined() || scale_E.numel() != logits_TE.size(1))) {
    fail("[router_weights] a learned weighting needs a scale of {} values", logits_TE.size(1));
  }
}

void check_ids(const at::Tensor& ids_TK, std::int64_t experts) {
  if (ids_TK.numel() == 0) return;
  const auto [least, largest] = at::aminmax(ids_TK);
  if (least.item<std::int64_t>() < 0 || largest.item<std::int64_t>() >= experts) {
    fail("[router_weights] ids from {} to {}, and there are {} experts", least.item<std::int64_t>(),
         largest.item<std::int64_t>(), experts);
  }
}

}  // namespace

at::Tensor router_weights(const at::Tensor& logits_TE, const at::Tensor& ids_TK, RouterWeights kind,
                          const at::Tensor& scale_E, double factor) {
  const RouterWeighting weighting = kernels::weighting_of(kind);
  check(logits_TE, ids_TK, scale_E, weighting);
  if (!logits_TE.is_cpu() || logits_TE.scalar_type() != at::kFloat) {
    return with_aten(logits_TE, ids_TK, weighting, scale_E, factor);
  }
  check_ids(ids_TK, logits_TE.size(1));
  const at::Tensor logits = logits_TE.contiguous(), ids = ids_TK.to(at::kInt).contiguous();
  const at::Tensor scale = weighting.learned ? scale_E.to(at::kFloat).contiguous() : at::Tensor();
  const auto number = static_cast<std::int64_t>(kind);
  if (!recording({logits, scale})) return run(logits, ids, scale, number, factor);
  return RouterWeightsFunction::apply(
      logits, ids, scale.defined() ? std::optional(scale) : std::nullopt, number, factor);
}

}  // namespace moebius::ops
