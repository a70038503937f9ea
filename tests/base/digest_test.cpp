#include "base/digest.h"

#include <gtest/gtest.h>

namespace moebius {
namespace {

TEST(Digest, IsXxh3Of128Bits) {
  EXPECT_EQ(digest_of(""), "99aa06d3014798d86001c324468d497f");
  EXPECT_EQ(digest_of("a"), "a96faf705af16834e6c632b61e964e1f");
}

TEST(Digest, PiecesGiveTheDigestOfTheWhole) {
  std::string text;
  for (int i = 0; i < 5000; ++i) text += static_cast<char>(i * 7);
  for (const std::size_t piece : {1u, 63u, 256u, 1025u}) {
    Digest digest;
    for (std::size_t at = 0; at < text.size(); at += piece) {
      digest.add(std::as_bytes(std::span(text).subspan(at, std::min(piece, text.size() - at))));
    }
    EXPECT_EQ(digest.hex(), digest_of(text));
  }
  EXPECT_NE(digest_of(text), digest_of(text.substr(1)));
}

}  // namespace
}  // namespace moebius
