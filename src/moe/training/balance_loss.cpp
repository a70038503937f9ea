#include "moe/training/balance_loss.h"

#include <ATen/ATen.h>

#include <vector>

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

}  // namespace moebius
