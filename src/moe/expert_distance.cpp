#include "moe/expert_distance.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cmath>

namespace moebius {

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
