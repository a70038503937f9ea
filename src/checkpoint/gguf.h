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

#include "checkpoint/gguf_type.h"
#include "config/weights.h"

namespace moebius {

/// A value of metadata, without the width that it has in the file. Written as bool, u32, f32,
/// string and arrays of i32, f32 and string.
using GgufValue = std::variant<bool, std::int64_t, double, std::string, std::vector<std::int64_t>,
                               std::vector<double>, std::vector<std::string>>;
using GgufMetadata = std::map<std::string, GgufValue, std::less<>>;

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

}  // namespace moebius
