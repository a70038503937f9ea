// Element types as they stand in files.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace moebius {

enum class DType { f64, f32, f16, bf16, i64, i32, i16, i8, u8, boolean };

/// Bytes of one element.
constexpr std::size_t size_of(DType dtype) {
  switch (dtype) {
    case DType::f64:
    case DType::i64:
      return 8;
    case DType::f32:
    case DType::i32:
      return 4;
    case DType::f16:
    case DType::bf16:
    case DType::i16:
      return 2;
    case DType::i8:
    case DType::u8:
    case DType::boolean:
      return 1;
  }
  return 0;
}

constexpr bool is_weight_dtype(DType dtype) {
  return dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16;
}

/// Names of safetensors ("F32", "BF16", ...); nothing for a name that is not known.
std::optional<DType> dtype_from_safetensors(std::string_view name);
std::string_view safetensors_name(DType dtype);

/// Names of config.json ("float32", "bfloat16", with or without "torch."), and short ones ("bf16").
std::optional<DType> dtype_from_config(std::string_view name);
std::string_view config_name(DType dtype);  ///< "float32"
std::string_view short_name(DType dtype);   ///< "f32"

constexpr float bf16_to_f32(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

/// Round to nearest even; NaN stays NaN.
constexpr std::uint16_t f32_to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7FFFFFFF) > 0x7F800000) return static_cast<std::uint16_t>(bits >> 16 | 0x40);
  return static_cast<std::uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

float f16_to_f32(std::uint16_t bits);
std::uint16_t f32_to_f16(float value);  ///< Round to nearest even; overflow gives infinity.

/// Element `index` of an array of weights of one of the three float types, and the way back.
float load_weight(const std::byte* data, DType dtype, std::size_t index);
void store_weight(std::byte* data, DType dtype, std::size_t index, float value);

/// Index of the first element that is NaN or infinite, or `count`. Weight dtypes only.
std::size_t find_non_finite(const std::byte* data, DType dtype, std::size_t count);

}  // namespace moebius
