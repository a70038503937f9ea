// How far the predictions of a model are from those of a reference.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace moebius {

/// Sums over rows: KL(p || q) in nats, computed in f64, and rows with the same argmax.
struct Divergence {
  double kl_sum = 0;
  std::int64_t agreements = 0;
};
/// Of softmax rows: p from `reference_NV`, q from `model_NV`.
Divergence divergence(const at::Tensor& reference_NV, const at::Tensor& model_NV);

}  // namespace moebius
