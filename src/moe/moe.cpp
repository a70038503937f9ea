#include "moe/moe.h"

#include <ATen/ATen.h>

#include <cmath>
#include <optional>
#include <vector>

#include "base/error.h"
#include "ops/grouped_ffn.h"
#include "ops/linear.h"
#include "ops/router_weights.h"

namespace moebius {
namespace {

/// Places of the `count` best. Sorting stably makes ties fall to the lower number, everywhere.
at::Tensor best(const at::Tensor& scores, std::int64_t count) {
  return std::get<1>(at::sort(scores, /*stable=*/true, /*dim=*/-1, /*descending=*/true))
      .narrow(-1, 0, count);
}

/// What experts are chosen by: -infinity in groups that are not among the best.
at::Tensor choice_scores(const at::Tensor& logits_TE, const at::Tensor& correction_E,
                         const MoeSpec& moe) {
  const at::Tensor scores_TE =
      moe.corrected ? at::sigmoid(logits_TE) + correction_E.to(at::kFloat) : logits_TE;
  const GroupLimit& limit = moe.limit;
  if (limit.kept == limit.groups) return scores_TE;
  const at::Tensor by_group = scores_TE.unflatten(-1, {limit.groups, -1});
  const at::Tensor quality = std::get<0>(by_group.topk(limit.best)).sum(-1);
  const at::Tensor lost =
      at::ones_like(quality, at::kBool).scatter(-1, best(quality, limit.kept), false);
  return by_group.masked_fill(lost.unsqueeze(-1), -INFINITY).flatten(-2);
}

/// The K best experts by what they are chosen by.
at::Tensor best_experts(const at::Tensor& scores_TE, const MoeSpec& moe) {
  const std::int64_t size = moe.group_size();
  if (size == 1) return best(scores_TE, moe.top_k);
  const std::int64_t tokens = scores_TE.size(0);
  const at::Tensor by_group = scores_TE.view({tokens, moe.groups, size}).sum(-1);
  const at::Tensor groups = best(by_group, moe.top_k / size);
  const at::Tensor members = at::arange(size, groups.options());
  return (groups.unsqueeze(-1) * size + members).view({tokens, moe.top_k});
}

/// Whether all experts are computed at once: rows of their matrices begin at multiples of 16 bytes.
bool suits_grouped_mm(const at::Tensor& x, const Ffn& w) {
  const at::Tensor& up = w.up;
  return x.is_cuda() && x.scalar_type() == at::kBFloat16 && up.scalar_type() == at::kBFloat16 &&
         up.size(1) % 8 == 0 && up.size(2) % 8 == 0;
}

}  // namespace

Ffn expert_of(const Ffn& w, std::int64_t e) {
  const auto at_e = [&](const at::Tensor& t) { return t.defined() ? t[e] : t; };
  return {at_e(w.gate),      at_e(w.up),      at_e(w.down),
          at_e(w.gate_bias), at_e(w.up_bias), at_e(w.down_bias)};
}

at::Tensor router_logits(const at::Tensor& x_TD, const Router& router, const MoeSpec& moe,
                         Activation activation) {
  const at::Tensor x = x_TD.to(at::kFloat);
  if (moe.scores == RouterScores::linear) return ops::linear(x, router.weight, router.bias);
  Ffn neurons;
  if (router.up.defined()) {
    neurons = {.gate = router.weight,
               .up = router.up,
               .gate_bias = router.bias,
               .up_bias = router.up_bias};
  } else {
    neurons.up = router.weight;
    neurons.up_bias = router.bias;
  }
  return ffn_hidden(x, neurons, activation).abs();
}

kernels::RoutingRule rule_of(const MoeSpec& moe, double multiplier) {
  return {.experts = moe.experts,
          .top_k = moe.top_k,
          .group_size = moe.group_size(),
          .limit_groups = moe.limit.groups,
          .limit_kept = moe.limit.kept,
          .limit_best = moe.limit.best,
          .kind = moe.weights,
          .factor = static_cast<float>(moe.weight_factor * multiplier)};
}

Routing route(const at::Tensor& x_TD, const Router& router, const MoeSpec& moe,
              Activation activation) {
  Routing routing;
  routing.logits_TE = router_logits(x_TD, router, moe, activation);
  routing.ids_TK =
      best_experts(choice_scores(routing.logits_TE.detach(), router.correction, moe), moe);
  const at::Tensor scale_E = router.scale.defined() ? router.scale.plain() : at::Tensor();
  routing.weights_TK = ops::router_weights(routing.logits_TE, routing.ids_TK, moe.weights, scale_E,
                                           moe.weight_factor);
  return routing;
}

Permutation permute(const Routing& routing, std::int64_t experts) {
  const at::Tensor flat = routing.ids_TK.flatten();
  const std::int64_t top_k = routing.ids_TK.size(1);
  const at::Tensor order = at::argsort(flat, /*stable=*/true, 0, /*descending=*/false);
  Permutation permutation;
  permutation.rows_N = at::floor_divide(order, top_k);
  permutation.places_N =
      at::empty_like(order).scatter_(0, order, at::arange(order.size(0), order.options()));
  permutation.offsets_E =
      at::searchsorted(flat.index_select(0, order), at::arange(experts + 1, flat.options()));
  return permutation;
}

at::Tensor ffn_hidden(const at::Tensor& x, const Ffn& w, Activation activation) {
  const at::Tensor up = ops::linear(x, w.up, w.up_bias);
  if (!w.gate.defined()) return ops::activate(up, activation);
  return ops::activate(ops::linear(x, w.gate, w.gate_bias), activation) * up;
}

at::Tensor ffn(const at::Tensor& x, const Ffn& w, Activation activation) {
  if (ops::suits_grouped_ffn(x, w)) return ops::ffn(x, w, activation);
  return ops::linear(ffn_hidden(x, w, activation), w.down, w.down_bias);
}

at::Tensor experts(const at::Tensor& x_TD, const Permutation& permutation, const Ffn& w,
                   Activation activation) {
  if (suits_grouped_mm(x_TD, w)) return grouped_experts(x_TD, permutation, w, activation);
  const at::Tensor x_ND = x_TD.index_select(0, permutation.rows_N);
  const at::Tensor offsets = permutation.offsets_E.to(at::kCPU);
  const auto* offset = offsets.const_data_ptr<std::int64_t>();
  std::vector<at::Tensor> parts;
  for (std::int64_t e = 0; e + 1 < offsets.size(0); ++e) {
    const std::int64_t rows = offset[e + 1] - offset[e];
    if (rows == 0) continue;
    parts.push_back(ffn(x_ND.narrow(0, offset[e], rows), expert_of(w, e), activation));
  }
  return at::cat(parts);
}

at::Tensor grouped_experts(const at::Tensor& x_TD, const Permutation& permutation, const Ffn& w,
                           Activation activation) {
  const at::Tensor &offsets = permutation.offsets_E, &up = w.up;
  const std::int64_t rows = permutation.rows_N.size(0), count = up.size(0);
  const at::Tensor ends = offsets.narrow(0, 1, count).to(at::kInt);
  const at::Tensor experts_N = at::repeat_interleave(offsets.diff(), std::optional(rows));
  const auto product = [&](const at::Tensor& x, const at::Tensor& matrices,
                           const at::Tensor& bias) {
    const at::Tensor y = at::_grouped_mm(x, matrices.transpose(1, 2), ends);
    return bias.defined() ? y + bias.index_select(0, experts_N) : y;
  };
  const at::Tensor x_ND = x_TD.index_select(0, permutation.rows_N);
  const at::Tensor u_NF = product(x_ND, w.up, w.up_bias);
  const at::Tensor h_NF = w.gate.defined()
                              ? ops::activate(product(x_ND, w.gate, w.gate_bias), activation) * u_NF
                              : ops::activate(u_NF, activation);
  return product(h_NF, w.down, w.down_bias);
}

at::Tensor combine(const at::Tensor& y_ND, const Permutation& permutation, const Routing& routing) {
  const auto tokens = routing.ids_TK.size(0), top_k = routing.ids_TK.size(1);
  const at::Tensor y_TKD =
      y_ND.index_select(0, permutation.places_N).view({tokens, top_k, y_ND.size(1)});
  return (y_TKD * routing.weights_TK.to(y_ND.scalar_type()).unsqueeze(-1)).sum(1);
}

MoeOutput moe_layer(const at::Tensor& x_TD, const Moe& w, const MoeSpec& moe,
                    Activation activation) {
  MoeOutput out;
  out.routing = route(x_TD, w.router, moe, activation);
  if (ops::suits_grouped_ffn(x_TD, w.experts)) {
    out.y_TD =
        ops::grouped_ffn(x_TD, out.routing.ids_TK, out.routing.weights_TK, w.experts, activation);
  } else {
    const Permutation permutation = permute(out.routing, moe.experts);
    out.y_TD = combine(experts(x_TD, permutation, w.experts, activation), permutation, out.routing);
  }
  if (w.shared.up.defined()) {
    const at::Tensor shared = ffn(x_TD, w.shared, activation);
    out.y_TD = out.y_TD +
               (moe.shared_gate ? shared * at::sigmoid(ops::linear(x_TD, w.shared_gate)) : shared);
  }
  if (w.bias.defined()) out.y_TD = out.y_TD + w.bias.plain().to(out.y_TD.scalar_type());
  return out;
}

}  // namespace moebius
