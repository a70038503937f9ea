// Super-blocks of 256 elements.
#include "checkpoint/ggml_block_parts.h"

namespace moebius::ggml {
namespace {

/// The two bits of element i in 64 bytes, as q2_K has them.
int two_bits(const std::byte* bytes, std::size_t i) {
  return bits(bytes[i / 128 * 32 + i % 32], i % 128 / 32 * 2, 2);
}
/// The bit of element i in 32 bytes.
int one_bit(const std::byte* bytes, std::size_t i) {
  return bits(bytes[i % 32], i / 32, 1);
}
/// The four bits of element i in 128 bytes, as q4_K has them.
int four_bits(const std::byte* bytes, std::size_t i) {
  return bits(bytes[i / 64 * 32 + i % 32], i % 64 / 32 * 4, 4);
}

int q3_scale(const std::byte* s, std::size_t group) {
  return bits(s[group % 8], group / 8 * 4, 4) | bits(s[8 + group % 4], group / 4 * 2, 2) << 4;
}

struct ScaleAndMin {
  int scale, min;
};
ScaleAndMin q4_scale(const std::byte* s, std::size_t group) {
  if (group < 4) return {bits(s[group], 0, 6), bits(s[group + 4], 0, 6)};
  return {low(s[group + 4]) | bits(s[group - 4], 6, 2) << 4,
          high(s[group + 4]) | bits(s[group], 6, 2) << 4};
}

/// Element i of a group becomes scale level(i) - min. Where min is 0, the bits are those of the
/// product.
template <std::size_t elements, class Level>
void dequantize_group(std::size_t group, float scale, float min, float* values, Level level) {
  for (std::size_t i = group * elements; i < (group + 1) * elements; ++i) {
    values[i] = scale * static_cast<float>(level(i)) - min;
  }
}

}  // namespace

void dequantize_q2_k(const std::byte* block, float* values) {
  const std::byte *s = block, *q = block + 16;
  const float d = half_at(block + 80), m = half_at(block + 82);
  for (std::size_t g = 0; g < 16; ++g) {
    dequantize_group<16>(g, d * static_cast<float>(low(s[g])), m * static_cast<float>(high(s[g])),
                         values, [=](std::size_t i) { return two_bits(q, i); });
  }
}

void dequantize_q3_k(const std::byte* block, float* values) {
  const std::byte *h = block, *q = block + 32, *s = block + 96;
  const float d = half_at(block + 108);
  for (std::size_t g = 0; g < 16; ++g) {
    dequantize_group<16>(g, d * static_cast<float>(q3_scale(s, g) - 32), 0, values,
                         [=](std::size_t i) { return two_bits(q, i) - 4 * (1 - one_bit(h, i)); });
  }
}

void dequantize_q4_k(const std::byte* block, float* values) {
  const float d = half_at(block), m = half_at(block + 2);
  const std::byte *s = block + 4, *q = block + 16;
  for (std::size_t g = 0; g < 8; ++g) {
    const auto [scale, min] = q4_scale(s, g);
    dequantize_group<32>(g, d * static_cast<float>(scale), m * static_cast<float>(min), values,
                         [=](std::size_t i) { return four_bits(q, i); });
  }
}

void dequantize_q5_k(const std::byte* block, float* values) {
  const float d = half_at(block), m = half_at(block + 2);
  const std::byte *s = block + 4, *h = block + 16, *q = block + 48;
  for (std::size_t g = 0; g < 8; ++g) {
    const auto [scale, min] = q4_scale(s, g);
    dequantize_group<32>(g, d * static_cast<float>(scale), m * static_cast<float>(min), values,
                         [=](std::size_t i) { return four_bits(q, i) | one_bit(h, i) << 4; });
  }
}

void dequantize_q6_k(const std::byte* block, float* values) {
  const std::byte *l = block, *h = block + 128, *s = block + 192;
  const float d = half_at(block + 208);
  for (std::size_t g = 0; g < 16; ++g) {
    dequantize_group<16>(g, d * static_cast<float>(i8(s[g])), 0, values, [=](std::size_t i) {
      const int four = bits(l[i / 128 * 64 + i % 64], i % 128 / 64 * 4, 4);
      return (four | two_bits(h, i) << 4) - 32;
    });
  }
}

void dequantize_iq4_xs(const std::byte* block, float* values) {
  const float d = half_at(block);
  const std::byte *h = block + 2, *s = block + 4, *q = block + 8;
  for (std::size_t g = 0; g < 8; ++g) {
    const int scale = bits(s[g / 2], g % 2 * 4, 4) | bits(h[g / 4], g % 4 * 2, 2) << 4;
    dequantize_group<32>(g, d * static_cast<float>(scale - 32), 0, values, [=](std::size_t i) {
      return iq4_levels[bits(q[g * 16 + i % 16], i % 32 / 16 * 4, 4)];
    });
  }
}

}  // namespace moebius::ggml
