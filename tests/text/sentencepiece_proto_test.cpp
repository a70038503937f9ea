#include "text/sentencepiece_proto.h"

#include <gtest/gtest.h>

#include <string>

namespace moebius {
namespace {

/// A field of bytes, shorter than 128.
std::string field(int number, const std::string& content) {
  return std::string{static_cast<char>(number << 3 | 2), static_cast<char>(content.size())} +
         content;
}

std::string piece(const std::string& text, int type) {
  const std::string score("\x15\x00\x00\x80\x3F", 5);
  return field(
      1, field(1, text) + score + (type == 0 ? "" : std::string{'\x18', static_cast<char>(type)}));
}

TEST(SentencePieceProto, TypesOfPieces) {
  const std::string model = piece("<unk>", 2) + piece("<s>", 3) + field(2, "\x18\x01") +
                            piece("a", 0) + piece("<sep>", 4) + piece("<0x00>", 6);
  EXPECT_EQ(piece_types(model),
            (std::vector{PieceType::unknown, PieceType::control, PieceType::normal,
                         PieceType::user_defined, PieceType::byte}));
  for (std::size_t size = 0; size < model.size(); ++size) {
    EXPECT_LE(piece_types(model.substr(0, size)).size(), 4u);
  }
}

TEST(SentencePieceProto, DummyPrefix) {
  const std::string spec("\x0A\x01x\x18\x00", 5);
  EXPECT_TRUE(adds_dummy_prefix(piece("a", 0)));
  EXPECT_TRUE(adds_dummy_prefix(field(3, "\x18\x01")));
  EXPECT_FALSE(adds_dummy_prefix(field(3, spec)));
  EXPECT_FALSE(adds_dummy_prefix(field(3, "\x18\x01") + std::string(kKeepSpaces)));
}

}  // namespace
}  // namespace moebius
