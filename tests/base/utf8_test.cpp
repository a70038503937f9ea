#include "base/utf8.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace moebius {
namespace {

TEST(Utf8, FindsMalformedSequences) {
  EXPECT_EQ(find_invalid_utf8("plain \xC3\xA4 \xE2\x82\xAC \xF0\x9F\x98\x80"), npos);
  EXPECT_EQ(find_invalid_utf8("a\xC0\x80"), 1u);         // overlong
  EXPECT_EQ(find_invalid_utf8("ab\xED\xA0\x80"), 2u);    // surrogate
  EXPECT_EQ(find_invalid_utf8("\xF4\x90\x80\x80"), 0u);  // beyond U+10FFFF
  EXPECT_EQ(find_invalid_utf8("abc\xE2\x82"), 3u);       // cut
  EXPECT_EQ(find_invalid_utf8("\x80"), 0u);              // lone continuation
}

TEST(Utf8, ErrorNamesLineAndByte) {
  try {
    check_utf8("one\ntwo\xFF", "notes.txt");
    FAIL() << "accepted malformed text";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "notes.txt: not UTF-8 at byte 7 (line 2), value 0xFF");
  }
}

TEST(Utf8, CompletePrefixNeverCutsACharacter) {
  const std::string text = "a\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80";
  EXPECT_EQ(complete_utf8_prefix(text), text.size());
  EXPECT_EQ(complete_utf8_prefix(text.substr(0, 2)), 1u);
  EXPECT_EQ(complete_utf8_prefix(text.substr(0, 5)), 3u);
  EXPECT_EQ(complete_utf8_prefix(text.substr(0, 9)), 6u);
  EXPECT_EQ(complete_utf8_prefix("a\xFF"), 2u);  // can never become a character: let it through
}

TEST(Utf8, RoundTripsEveryPlane) {
  for (const char32_t c : {U'\0', U'a', U'\x7FF', U'\x800', U'\xFFFD', U'\x10000', U'\x10FFFF'}) {
    std::string bytes;
    append_utf8(bytes, c);
    std::size_t at = 0;
    EXPECT_EQ(next_code_point(bytes, at), c);
    EXPECT_EQ(at, bytes.size());
  }
}

TEST(Utf8, ReplacesMalformed) {
  EXPECT_EQ(replace_invalid_utf8("a\xE2\x82z\xFF"), "a\xEF\xBF\xBDz\xEF\xBF\xBD");
}

}  // namespace
}  // namespace moebius
