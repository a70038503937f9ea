// Element types of the tensors in GGUF files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/dtype.h"

namespace moebius {

/// How a tensor's elements are stored, with the numbers of the format. All types but the three
/// floats are quantised: a row is a sequence of blocks (`checkpoint/ggml_blocks.h`).
enum class GgufType : std::uint32_t {
  f32 = 0,
  f16 = 1,
  q4_0 = 2,
  q4_1 = 3,
  q5_0 = 6,
  q5_1 = 7,
  q8_0 = 8,
  q8_1 = 9,
  q2_k = 10,
  q3_k = 11,
  q4_k = 12,
  q5_k = 13,
  q6_k = 14,
  iq4_nl = 20,
  iq4_xs = 23,
  bf16 = 30
};

/// The types that are read, in the order of their numbers.
std::span<const GgufType> gguf_types();
/// Nothing for the number of a type that is not read.
std::optional<GgufType> gguf_type_numbered(std::uint32_t number);
/// The name of any type that ggml has or had; "number N" for others.
std::string gguf_type_name(std::uint32_t number);

std::string_view name_of(GgufType type);  ///< "q4_K"
/// The type that elements have once they are read: f32 for quantised ones, which are dequantised.
DType dtype_of(GgufType type);
bool is_quantized(GgufType type);
/// Elements of a block, 1 for the floats. A row holds whole blocks.
std::size_t gguf_block_elements(GgufType type);
/// Bytes of a row of `columns` elements, a multiple of the block's.
std::size_t gguf_row_bytes(GgufType type, std::int64_t columns);

/// `count` elements of a quantised type, a multiple of the block's, as f32.
void dequantize(GgufType type, const std::byte* from, std::size_t count, float* values);
/// `count` values, a multiple of 32, as blocks of q8_0.
void quantize_q8_0(const float* values, std::size_t count, std::byte* to);

}  // namespace moebius
