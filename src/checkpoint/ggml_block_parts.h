// What the decoders of ggml's block formats share: reading fields of a block.
#pragma once

#include <cstdint>
#include <cstring>

#include "base/dtype.h"
#include "checkpoint/ggml_blocks.h"

namespace moebius::ggml {

/// The levels of iq4_nl and iq4_xs.
inline constexpr float iq4_levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                         1,    13,   25,  38,  53,  69,  89,  113};

inline float half_at(const std::byte* at) {
  std::uint16_t bits = 0;
  std::memcpy(&bits, at, sizeof bits);
  return f16_to_f32(bits);
}

inline int u8(std::byte byte) {
  return std::to_integer<int>(byte);
}
inline int i8(std::byte byte) {
  return static_cast<std::int8_t>(byte);
}
inline int low(std::byte byte) {
  return u8(byte) & 15;
}
inline int high(std::byte byte) {
  return u8(byte) >> 4;
}
/// `count` bits of a byte from bit `from` on.
inline int bits(std::byte byte, std::size_t from, int count) {
  return u8(byte) >> from & ((1 << count) - 1);
}

}  // namespace moebius::ggml
