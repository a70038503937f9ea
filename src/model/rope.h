// Rotary frequencies of every kind of scaling.
#pragma once

#include <ATen/core/Tensor.h>

#include "config/model_spec.h"

namespace moebius {

/// Radians a position, [head_dim / 2] in f32, for a sequence of `length` tokens (which `dynamic`
/// depends on). Su et al. 2021; dynamic: NTK-aware scaling; llama3: as in Llama 3.1's reference;
/// yarn: Peng et al. 2023, equation 23.
at::Tensor rope_frequencies(const RopeSpec& rope, std::int64_t head_dim, std::int64_t length);

}  // namespace moebius
