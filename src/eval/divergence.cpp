#include "eval/divergence.h"

#include <ATen/ATen.h>

namespace moebius {

Divergence divergence(const at::Tensor& reference_NV, const at::Tensor& model_NV) {
  const at::Tensor log_p = at::log_softmax(reference_NV.to(at::kDouble), -1);
  const at::Tensor log_q = at::log_softmax(model_NV.to(at::kDouble), -1);
  Divergence d;
  d.kl_sum = (log_p.exp() * (log_p - log_q)).sum().item<double>();
  d.agreements = (reference_NV.argmax(-1) == model_NV.argmax(-1)).sum().item<std::int64_t>();
  return d;
}

}  // namespace moebius
