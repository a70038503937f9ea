#include "moe/balance.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace moebius {
namespace {

/// Tokens that chose each expert, f32 [E].
at::Tensor counts_of(const Routing& routing) {
  return at::bincount(routing.ids_TK.flatten(), {}, routing.logits_TE.size(1)).to(at::kFloat);
}

}  // namespace

at::Tensor layer_balance_loss(const Routing& routing) {
  const auto tokens = static_cast<double>(routing.ids_TK.size(0));
  const auto top_k = static_cast<double>(routing.ids_TK.size(1));
  const auto experts = static_cast<double>(routing.logits_TE.size(1));
  const at::Tensor f_E = counts_of(routing) / tokens;
  const at::Tensor p_E = at::softmax(routing.logits_TE, -1).mean(0);
  return (f_E * p_E).sum() * (experts / top_k);
}

at::Tensor balance_loss(std::span<const Routing> routings) {
  std::vector<at::Tensor> losses;
  for (const Routing& routing : routings) losses.push_back(layer_balance_loss(routing));
  return at::stack(losses).mean();
}

at::Tensor pooled_balance_loss(std::span<const Routing> routings) {
  const std::int64_t experts = routings[0].logits_TE.size(1);
  at::Tensor counts_E, p_E;
  double rows = 0;
  for (const Routing& routing : routings) {
    if (routing.logits_TE.size(1) != experts) {
      fail("[pooled_balance_loss] layers have {} and {} experts", experts,
           routing.logits_TE.size(1));
    }
    const at::Tensor counts = counts_of(routing), p = at::softmax(routing.logits_TE, -1).sum(0);
    counts_E = counts_E.defined() ? counts_E + counts : counts;
    p_E = p_E.defined() ? p_E + p : p;
    rows += static_cast<double>(routing.logits_TE.size(0));
  }
  return (counts_E / rows * (p_E / rows)).sum() * static_cast<double>(experts);
}

RouterHealth router_health(std::span<const Routing> routings) {
  const at::NoGradGuard no_grad;
  RouterHealth health;
  for (const Routing& routing : routings) {
    const at::Tensor log_p = at::log_softmax(routing.logits_TE, -1);
    health.entropy -= (log_p.exp() * log_p).sum(-1).mean().item<double>();
    const at::Tensor counts_E = counts_of(routing);
    health.max_violation =
        std::max(health.max_violation, (counts_E.max() / counts_E.mean()).item<double>() - 1.0);
    health.dead_experts += (counts_E == 0).sum().item<std::int64_t>();
  }
  health.entropy /= static_cast<double>(std::max<std::size_t>(1, routings.size()));
  return health;
}

double expert_distance(const Moe& moe) {
  const at::NoGradGuard no_grad;
  double spread = 0, size = 0;
  for (const Weight* weight : {&moe.experts.gate, &moe.experts.up, &moe.experts.down}) {
    if (!weight->defined()) continue;
    const at::Tensor& w = *weight;
    const at::Tensor mean = w.mean(0, /*keepdim=*/true);
    spread += (w - mean).square().sum().item<double>() / static_cast<double>(w.size(0));
    size += mean.square().sum().item<double>();
  }
  return size > 0 ? std::sqrt(spread / size) : 0.0;
}

}  // namespace moebius
