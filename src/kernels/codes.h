// How weights become codes of a few bits.
#pragma once

#include <cstdint>

#include "kernels/panel_layout.h"

namespace moebius::kernels {

/// The scale, in bf16, of a group of `count` weights: the one of several candidates with which the
/// nearest codes miss them least (sum of squares); the same on every machine. It is not finite
/// where a weight is not, and 0 where all are. With codes that reach further down than up it may be
/// negative: the largest magnitude then has the code furthest from zero.
std::uint16_t scale_of_group(PackedType type, const float* w, std::int64_t count);

/// The code nearest to a weight, given 1 / scale; ties to even.
class NearestCode {
 public:
  explicit NearestCode(PackedType type);

  float operator()(float w, float inverse) const {
    constexpr float to_integer = 0x1.8p23f;
    const float scaled = w * inverse, low = scaled < least_ ? least_ : scaled;
    return ((low > most_ ? most_ : low) + to_integer) - to_integer;
  }

 private:
  float least_, most_;
};

}  // namespace moebius::kernels
