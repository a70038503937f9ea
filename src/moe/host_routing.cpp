#include "moe/host_routing.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

namespace moebius {

HostRouting host_routing(const Routing& routing, bool with_entropy) {
  const at::NoGradGuard no_grad;
  const at::Tensor ids = routing.ids_TK.to(at::kCPU, at::kInt).contiguous();
  const auto* first = ids.const_data_ptr<std::int32_t>();
  HostRouting out{.ids_TK = {first, first + ids.numel()},
                  .top_k = ids.size(1),
                  .experts = routing.logits_TE.size(1)};
  if (!with_entropy) return out;
  const at::Tensor log_p = at::log_softmax(routing.logits_TE, -1);
  out.entropy_sum = -(log_p.exp() * log_p).sum(at::kDouble).item<double>();
  return out;
}

}  // namespace moebius
