#include "base/dtype.h"

#include <array>
#include <cmath>
#include <cstring>

namespace moebius {
namespace {

struct Row {
  DType dtype;
  std::string_view safetensors, config, brief;
};

constexpr std::array<Row, 10> rows{{
    {DType::f64, "F64", "float64", "f64"},
    {DType::f32, "F32", "float32", "f32"},
    {DType::f16, "F16", "float16", "f16"},
    {DType::bf16, "BF16", "bfloat16", "bf16"},
    {DType::i64, "I64", "int64", "i64"},
    {DType::i32, "I32", "int32", "i32"},
    {DType::i16, "I16", "int16", "i16"},
    {DType::i8, "I8", "int8", "i8"},
    {DType::u8, "U8", "uint8", "u8"},
    {DType::boolean, "BOOL", "bool", "bool"},
}};

const Row& row_of(DType dtype) {
  return rows[static_cast<std::size_t>(dtype)];
}

template <class T>
T read(const std::byte* data, std::size_t index) {
  T value;
  std::memcpy(&value, data + index * sizeof(T), sizeof(T));
  return value;
}

/// All-ones exponent, block by block so that the loop over a block vectorises.
template <class Bits>
std::size_t find_exponent(const std::byte* data, std::size_t count, Bits exponent) {
  constexpr std::size_t block = 4096;
  for (std::size_t start = 0; start < count; start += block) {
    const std::size_t end = start + block < count ? start + block : count;
    Bits bad = 0;
    for (std::size_t i = start; i < end; ++i) {
      bad |= static_cast<Bits>((read<Bits>(data, i) & exponent) == exponent);
    }
    if (bad == 0) continue;
    for (std::size_t i = start; i < end; ++i) {
      if ((read<Bits>(data, i) & exponent) == exponent) return i;
    }
  }
  return count;
}

}  // namespace

std::optional<DType> dtype_from_safetensors(std::string_view name) {
  for (const Row& row : rows) {
    if (row.safetensors == name) return row.dtype;
  }
  return std::nullopt;
}

std::string_view safetensors_name(DType dtype) {
  return row_of(dtype).safetensors;
}

std::optional<DType> dtype_from_config(std::string_view name) {
  if (name.starts_with("torch.")) name.remove_prefix(6);
  for (const Row& row : rows) {
    if (row.config == name || row.brief == name) return row.dtype;
  }
  return std::nullopt;
}

std::string_view config_name(DType dtype) {
  return row_of(dtype).config;
}
std::string_view short_name(DType dtype) {
  return row_of(dtype).brief;
}

float f16_to_f32(std::uint16_t bits) {
  const std::uint32_t sign = (bits & 0x8000U) << 16, magnitude = bits & 0x7FFFU;
  if (magnitude < 0x0400) {  // subnormal: units of 2^-24
    const float value = static_cast<float>(magnitude) * 0x1p-24F;
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(value) | sign);
  }
  if (magnitude > 0x7C00) return sign != 0 ? -NAN : NAN;
  const std::uint32_t bias = magnitude == 0x7C00 ? 255 - 31 : 127 - 15;
  return std::bit_cast<float>(sign | (magnitude + (bias << 10)) << 13);
}

std::uint16_t f32_to_f16(float value) {
  const auto sign = static_cast<std::uint16_t>(std::signbit(value) ? 0x8000 : 0);
  const float magnitude = std::fabs(value);
  if (std::isnan(value)) return static_cast<std::uint16_t>(sign | 0x7E00);
  if (magnitude >= 65520.0f) return static_cast<std::uint16_t>(sign | 0x7C00);
  if (magnitude < 0x1p-14f) {  // subnormal: units of 2^-24
    const auto units = static_cast<std::uint16_t>(std::nearbyint(std::ldexp(magnitude, 24)));
    return static_cast<std::uint16_t>(sign | units);
  }
  int exponent = 0;
  const float mantissa = std::frexp(magnitude, &exponent);                       // in [0.5, 1)
  const int units = static_cast<int>(std::nearbyint(std::ldexp(mantissa, 11)));  // [1024, 2048]
  // A mantissa that rounds up to 2048 carries into the exponent by plain addition.
  return static_cast<std::uint16_t>(sign + ((exponent + 14) << 10) + (units - 1024));
}

float load_weight(const std::byte* data, DType dtype, std::size_t index) {
  if (dtype == DType::bf16) return bf16_to_f32(read<std::uint16_t>(data, index));
  if (dtype == DType::f16) return f16_to_f32(read<std::uint16_t>(data, index));
  return read<float>(data, index);
}

void store_weight(std::byte* data, DType dtype, std::size_t index, float value) {
  if (dtype == DType::f32) {
    std::memcpy(data + index * 4, &value, 4);
    return;
  }
  const std::uint16_t bits = dtype == DType::bf16 ? f32_to_bf16(value) : f32_to_f16(value);
  std::memcpy(data + index * 2, &bits, 2);
}

std::size_t find_non_finite(const std::byte* data, DType dtype, std::size_t count) {
  switch (dtype) {
    case DType::bf16:
      return find_exponent<std::uint16_t>(data, count, 0x7F80);
    case DType::f16:
      return find_exponent<std::uint16_t>(data, count, 0x7C00);
    default:
      return find_exponent<std::uint32_t>(data, count, 0x7F800000);
  }
}

}  // namespace moebius
