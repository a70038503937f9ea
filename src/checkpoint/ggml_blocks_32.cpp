// Blocks of 32 elements.
#include <algorithm>
#include <cmath>

#include "checkpoint/ggml_block_parts.h"

namespace moebius::ggml {
namespace {

constexpr std::size_t half_block = block_elements / 2;

/// Calls level(q, i) for every element: q its four bits, `level` what they stand for.
template <class Level>
void for_each_nibble(const std::byte* q, float* values, Level level) {
  for (std::size_t i = 0; i < half_block; ++i) {
    values[i] = level(low(q[i]), i);
    values[i + half_block] = level(high(q[i]), i + half_block);
  }
}

/// The fifth bit of element i, at its place.
int fifth_bit(const std::byte* h, std::size_t i) {
  return bits(h[i / 8], i % 8, 1) << 4;
}

}  // namespace

void dequantize_q4_0(const std::byte* block, float* values) {
  const float d = half_at(block);
  for_each_nibble(block + 2, values,
                  [=](int q, std::size_t) { return d * static_cast<float>(q - 8); });
}

void dequantize_q4_1(const std::byte* block, float* values) {
  const float d = half_at(block), m = half_at(block + 2);
  for_each_nibble(block + 4, values,
                  [=](int q, std::size_t) { return d * static_cast<float>(q) + m; });
}

void dequantize_q5_0(const std::byte* block, float* values) {
  const float d = half_at(block);
  const std::byte* h = block + 2;
  for_each_nibble(block + 6, values, [=](int q, std::size_t i) {
    return d * static_cast<float>((q | fifth_bit(h, i)) - 16);
  });
}

void dequantize_q5_1(const std::byte* block, float* values) {
  const float d = half_at(block), m = half_at(block + 2);
  const std::byte* h = block + 4;
  for_each_nibble(block + 8, values, [=](int q, std::size_t i) {
    return d * static_cast<float>(q | fifth_bit(h, i)) + m;
  });
}

void dequantize_q8_0(const std::byte* block, float* values) {
  const float d = half_at(block);
  for (std::size_t i = 0; i < block_elements; ++i) {
    values[i] = d * static_cast<float>(i8(block[2 + i]));
  }
}

void dequantize_q8_1(const std::byte* block, float* values) {
  const float d = half_at(block);
  for (std::size_t i = 0; i < block_elements; ++i) {
    values[i] = d * static_cast<float>(i8(block[4 + i]));
  }
}

void dequantize_iq4_nl(const std::byte* block, float* values) {
  const float d = half_at(block);
  for_each_nibble(block + 2, values, [=](int q, std::size_t) { return d * iq4_levels[q]; });
}

void quantize_q8_0(const float* values, std::byte* block) {
  float largest = 0;
  for (std::size_t i = 0; i < block_elements; ++i) {
    largest = std::max(largest, std::fabs(values[i]));
  }
  const float scale = largest / 127.0F;
  const float inverse = std::isnormal(scale) ? 1.0F / scale : 0;
  const std::uint16_t d = f32_to_f16(scale);
  std::memcpy(block, &d, sizeof d);
  for (std::size_t i = 0; i < block_elements; ++i) {
    block[sizeof d + i] =
        static_cast<std::byte>(static_cast<std::int8_t>(std::round(values[i] * inverse)));
  }
}

}  // namespace moebius::ggml
