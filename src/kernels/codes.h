// Quantisation of weights to int8 and int4.
#pragma once

#include <cstdint>

#include "kernels/panel_layout.h"

namespace moebius::kernels {

/// The scale, in bf16, of a group of `count` weights: of several candidates the one with the least
/// squared error of the nearest codes; the same on every machine. Not finite where a weight is not,
/// and 0 where all weights are. int4 codes reach from -8 to 7, so its scale may be negative: the
/// weight of the largest magnitude then gets the code -8.
std::uint16_t scale_of_group(PackedType type, const float* w, std::int64_t count);

/// Rounds a weight to its nearest code, given 1 / scale; ties to even.
class NearestCode {
 public:
  explicit NearestCode(PackedType type);

  float operator()(float w, float inverse) const {
    constexpr float to_integer = 0x1.8p23f;
    const float scaled = w * inverse, low = scaled < min_ ? min_ : scaled;
    return ((low > max_ ? max_ : low) + to_integer) - to_integer;
  }

 private:
  float min_, max_;
};

}  // namespace moebius::kernels
