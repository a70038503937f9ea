#include "checkpoint/gguf_type.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "checkpoint/ggml_blocks.h"

namespace moebius {
namespace {

/// A block is `elements` in `bytes`; `dequantize` is null for the floats.
struct Row {
  GgufType type;
  std::string_view name;
  std::size_t elements, bytes;
  ggml::DequantizeBlock dequantize;
};
constexpr std::array rows{
    Row{GgufType::f32, "f32", 1, 4, nullptr},
    Row{GgufType::f16, "f16", 1, 2, nullptr},
    Row{GgufType::q4_0, "q4_0", 32, 18, ggml::dequantize_q4_0},
    Row{GgufType::q4_1, "q4_1", 32, 20, ggml::dequantize_q4_1},
    Row{GgufType::q5_0, "q5_0", 32, 22, ggml::dequantize_q5_0},
    Row{GgufType::q5_1, "q5_1", 32, 24, ggml::dequantize_q5_1},
    Row{GgufType::q8_0, "q8_0", 32, 34, ggml::dequantize_q8_0},
    Row{GgufType::q8_1, "q8_1", 32, 36, ggml::dequantize_q8_1},
    Row{GgufType::q2_k, "q2_K", 256, 84, ggml::dequantize_q2_k},
    Row{GgufType::q3_k, "q3_K", 256, 110, ggml::dequantize_q3_k},
    Row{GgufType::q4_k, "q4_K", 256, 144, ggml::dequantize_q4_k},
    Row{GgufType::q5_k, "q5_K", 256, 176, ggml::dequantize_q5_k},
    Row{GgufType::q6_k, "q6_K", 256, 210, ggml::dequantize_q6_k},
    Row{GgufType::iq4_nl, "iq4_nl", 32, 18, ggml::dequantize_iq4_nl},
    Row{GgufType::iq4_xs, "iq4_xs", 256, 136, ggml::dequantize_iq4_xs},
    Row{GgufType::bf16, "bf16", 1, 2, nullptr},
};
constexpr auto types = [] {
  std::array<GgufType, rows.size()> out{};
  for (std::size_t r = 0; r < rows.size(); ++r) out[r] = rows[r].type;
  return out;
}();

/// Types that ggml has, or had, and that are not read.
constexpr std::pair<std::uint32_t, std::string_view> others[] = {
    {4, "q4_2"},        {5, "q4_3"},        {15, "q8_K"},       {16, "iq2_xxs"}, {17, "iq2_xs"},
    {18, "iq3_xxs"},    {19, "iq1_s"},      {21, "iq3_s"},      {22, "iq2_s"},   {24, "i8"},
    {25, "i16"},        {26, "i32"},        {27, "i64"},        {28, "f64"},     {29, "iq1_m"},
    {31, "q4_0_4_4"},   {32, "q4_0_4_8"},   {33, "q4_0_8_8"},   {34, "tq1_0"},   {35, "tq2_0"},
    {36, "iq4_nl_4_4"}, {37, "iq4_nl_4_8"}, {38, "iq4_nl_8_8"}, {39, "mxfp4"},   {40, "nvfp4"},
    {41, "q1_0"}};

const Row& row_of(GgufType type) {
  return *std::find_if(rows.begin(), rows.end(), [&](const Row& row) { return row.type == type; });
}

}  // namespace

std::span<const GgufType> gguf_types() {
  return types;
}

std::optional<GgufType> gguf_type_numbered(std::uint32_t number) {
  const auto type = static_cast<GgufType>(number);
  if (std::find(types.begin(), types.end(), type) == types.end()) return std::nullopt;
  return type;
}

std::string gguf_type_name(std::uint32_t number) {
  if (const auto type = gguf_type_numbered(number)) return std::string(name_of(*type));
  for (const auto& [known, name] : others) {
    if (known == number) return std::string(name);
  }
  return fmt::format("number {}", number);
}

std::string_view name_of(GgufType type) {
  return row_of(type).name;
}

DType dtype_of(GgufType type) {
  if (type == GgufType::f16) return DType::f16;
  return type == GgufType::bf16 ? DType::bf16 : DType::f32;
}

bool is_quantized(GgufType type) {
  return row_of(type).dequantize != nullptr;
}

std::size_t gguf_block_elements(GgufType type) {
  return row_of(type).elements;
}

std::size_t gguf_row_bytes(GgufType type, std::int64_t columns) {
  const Row& row = row_of(type);
  return static_cast<std::size_t>(columns) / row.elements * row.bytes;
}

void dequantize(GgufType type, const std::byte* from, std::size_t count, float* values) {
  const Row& row = row_of(type);
  for (std::size_t begin = 0; begin < count; begin += row.elements, from += row.bytes) {
    row.dequantize(from, values + begin);
  }
}

void quantize_q8_0(const float* values, std::size_t count, std::byte* to) {
  const Row& row = row_of(GgufType::q8_0);
  for (std::size_t begin = 0; begin < count; begin += row.elements, to += row.bytes) {
    ggml::quantize_q8_0(values + begin, to);
  }
}

}  // namespace moebius
