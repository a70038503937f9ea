// Mean and deviation of stored tensors, the same at any number of threads.
#pragma once

#include "checkpoint/safetensors.h"

namespace moebius {

struct Statistics {
  double mean = 0, deviation = 0;  ///< over all elements, in f64
};
Statistics statistics_of(const TensorEntry& entry, int threads);

/// Root mean square of a norm's output, from its weight and bias (null: none): sqrt(mean(g^2 +
/// b^2)).
double norm_output_rms(const TensorEntry& weight, const TensorEntry* bias);

}  // namespace moebius
