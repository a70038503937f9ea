// Mean and deviation of stored tensors, the same at any number of threads.
#pragma once

#include "convert/recipe.h"

namespace moebius {

struct Statistics {
  double mean = 0, deviation = 0;  ///< over all elements, in f64
};
Statistics statistics_of(const WeightSlice& slice, int threads);

/// Root mean square of a norm's output, from its weight and bias: sqrt(mean(g^2 + b^2)).
double norm_output_rms(const WeightSlice& weight, const std::optional<WeightSlice>& bias);

}  // namespace moebius
