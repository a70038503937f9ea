// Rotary frequencies of every kind of scaling.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "config/model_spec.h"

namespace moebius {

/// Radians a position, [head_dim / 2] in f32, for a sequence of `length` tokens (which `dynamic`
/// depends on). Su et al. 2021; dynamic: NTK-aware scaling; llama3: as in Llama 3.1's reference;
/// yarn: Peng et al. 2023, equation 23.
at::Tensor rope_frequencies(const RopeSpec& rope, std::int64_t head_dim, std::int64_t length);

/// Rotary angles of some positions at a time, on the CPU.
class RotaryAngles {
 public:
  explicit RotaryAngles(const ModelSpec& spec);

  /// Of what turns; 0 where positions are learned.
  std::int64_t half() const { return static_cast<std::int64_t>(frequencies_.size()); }
  /// cos and sin [count, half], times the spec's factor, of positions [past, past + count) of a
  /// sequence that has no more.
  void fill(std::int64_t past, std::int64_t count, float* cos, float* sin) const;

 private:
  RopeSpec rope_;
  std::vector<float> frequencies_;  ///< radians a position; of short sequences
};

}  // namespace moebius
