#include "text/sentencepiece_proto.h"

#include <cstddef>
#include <cstdint>

namespace moebius {
namespace {

enum WireType : std::uint64_t { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };

/// Reads the fields of a message one after the other.
class FieldReader {
 public:
  explicit FieldReader(std::string_view message) : rest_(message) {}

  /// Moves to the next field; false at the end and before malformed bytes.
  bool next() {
    std::uint64_t tag = 0;
    if (!read_varint(tag)) return false;
    number_ = tag >> 3;
    switch (tag & 7) {
      case varint:
        return read_varint(value_);
      case fixed64:
        return skip(8);
      case fixed32:
        return skip(4);
      case bytes: {
        std::uint64_t size = 0;
        if (!read_varint(size) || size > rest_.size()) return false;
        content_ = rest_.substr(0, static_cast<std::size_t>(size));
        return skip(static_cast<std::size_t>(size));
      }
      default:
        return false;
    }
  }
  std::uint64_t number() const { return number_; }
  std::uint64_t value() const { return value_; }         ///< of a varint
  std::string_view content() const { return content_; }  ///< of bytes

 private:
  bool read_varint(std::uint64_t& out) {
    out = 0;
    for (unsigned shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
      const auto byte = static_cast<unsigned char>(rest_[0]);
      rest_.remove_prefix(1);
      out |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return true;
    }
    return false;
  }
  bool skip(std::size_t size) {
    if (size > rest_.size()) return false;
    rest_.remove_prefix(size);
    return true;
  }

  std::string_view rest_, content_;
  std::uint64_t number_ = 0, value_ = 0;
};

}  // namespace

std::vector<PieceType> piece_types(std::string_view model) {
  constexpr std::uint64_t pieces_field = 1, type_field = 3;
  std::vector<PieceType> types;
  for (FieldReader field(model); field.next();) {
    if (field.number() != pieces_field) continue;
    PieceType type = PieceType::normal;
    for (FieldReader of_piece(field.content()); of_piece.next();) {
      if (of_piece.number() == type_field) type = static_cast<PieceType>(of_piece.value());
    }
    types.push_back(type);
  }
  return types;
}

bool adds_dummy_prefix(std::string_view model) {
  constexpr std::uint64_t normalizer_field = 3, prefix_field = 3;
  bool adds = true;
  for (FieldReader field(model); field.next();) {
    if (field.number() != normalizer_field) continue;
    for (FieldReader of_spec(field.content()); of_spec.next();) {
      if (of_spec.number() == prefix_field) adds = of_spec.value() != 0;
    }
  }
  return adds;
}

}  // namespace moebius
