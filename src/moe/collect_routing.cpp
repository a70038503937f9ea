#include "moe/collect_routing.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "base/error.h"

namespace moebius {

RoutingStatistics collect_routing(const ModelSpec& spec, std::span<const Routing> routings) {
  const at::NoGradGuard no_grad;
  RoutingStatistics statistics;
  statistics.layers.resize(spec.layers.size());
  std::size_t next = 0;
  for (std::size_t l = 0; l < spec.layers.size(); ++l) {
    if (!spec.layers[l].moe) continue;
    if (next == routings.size()) fail("[collect_routing] no routing for layer {}", l);
    const Routing& routing = routings[next++];
    const at::Tensor ids_TK = routing.ids_TK.to(at::kCPU, at::kInt).contiguous();
    const at::Tensor log_p_TE = at::log_softmax(routing.logits_TE, -1);
    statistics.layers[l].add(
        {.ids_TK = {ids_TK.const_data_ptr<std::int32_t>(),
                    static_cast<std::size_t>(ids_TK.numel())},
         .top_k = ids_TK.size(1),
         .experts = routing.logits_TE.size(1),
         .entropy_sum = -(log_p_TE.exp() * log_p_TE).sum(at::kDouble).item<double>()});
  }
  return statistics;
}

}  // namespace moebius
