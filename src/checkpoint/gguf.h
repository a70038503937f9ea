// The GGUF format, versions 2 and 3: a header of typed metadata and tensor descriptions, then the
// data. Numbers are little-endian.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "config/weights.h"

namespace moebius {

/// What metadata may be; the widths of the file are not kept. Written as bool, u32, f32, string and
/// arrays of i32, f32 and string.
using GgufValue = std::variant<bool, std::int64_t, double, std::string, std::vector<std::int64_t>,
                               std::vector<double>, std::vector<std::string>>;
using GgufMetadata = std::map<std::string, GgufValue, std::less<>>;

/// How a tensor's elements are stored, with the numbers of the format. `q8_0`: blocks of 32 along a
/// row, an f16 scale and 32 signed bytes.
enum class GgufType : std::uint32_t { f32 = 0, f16 = 1, q8_0 = 8, bf16 = 30 };
inline constexpr std::size_t q8_block = 32, q8_block_bytes = 34;

std::string_view name_of(GgufType type);  ///< "q8_0"
/// The type that such elements have once they are read; f32 for q8_0, which is widened.
DType dtype_of(GgufType type);
/// Bytes of a row of `columns` elements, a multiple of 32 for q8_0.
std::size_t gguf_row_bytes(GgufType type, std::int64_t columns);

/// A tensor as the header describes it; the shape is the file's reversed, so that rows come first.
struct GgufTensor {
  std::string name;
  GgufType type = GgufType::f32;
  Shape shape;
  std::size_t offset = 0, bytes = 0;  ///< within the file
};

struct GgufHeader {
  std::string where;  ///< names the file in errors
  GgufMetadata metadata;
  std::vector<GgufTensor> tensors;

  // Typed, checked access. All throw Error naming file and key on another type or out of bounds;
  // those without fallback also where the key is absent.
  bool has(std::string_view key) const { return metadata.contains(key); }
  std::int64_t integer(std::string_view key, std::int64_t min, std::int64_t max) const;
  std::int64_t integer_or(std::string_view key, std::int64_t fallback, std::int64_t min,
                          std::int64_t max) const;
  double number(std::string_view key) const;
  double number_or(std::string_view key, double fallback) const;
  bool boolean_or(std::string_view key, bool fallback) const;
  std::string string(std::string_view key) const;
  std::string string_or(std::string_view key, std::string_view fallback) const;
  /// Lists, empty where the key is absent.
  std::vector<std::string> strings(std::string_view key) const;
  std::vector<std::int64_t> integers(std::string_view key) const;
  std::vector<double> numbers(std::string_view key) const;
  /// Null if there is no such tensor.
  const GgufTensor* find(std::string_view tensor) const;
  [[noreturn]] void fail_key(std::string_view key, std::string_view what) const;
};

/// Reads and checks the header of the file that `bytes` are: versions, counts, lengths, types, keys
/// and names given once, data inside the file, aligned and not overlapping. The metadata that it
/// takes in is bounded. Throws Error naming `where` and the key or tensor.
GgufHeader parse_gguf(std::span<const std::byte> bytes, const std::string& where);

/// The bytes before the data of a file with this content, padded to the alignment of 32. Fills in
/// `offset` and `bytes` of the tensors, which lie in the order given.
std::string gguf_header(const GgufMetadata& metadata, std::vector<GgufTensor>& tensors);
/// The size of a file that `gguf_header` began; the last tensor is padded too.
std::size_t gguf_file_bytes(const std::string& header, const std::vector<GgufTensor>& tensors);

/// `count` elements, a multiple of 32, into `to` and back. The scale is the largest magnitude
/// through 127, halves are rounded away from zero.
void quantize_q8(const float* values, std::size_t count, std::byte* to);
void dequantize_q8(const std::byte* from, std::size_t count, float* values);

}  // namespace moebius
