// Normalisers one by one; expectations from Hugging Face's tokenizers 0.23.3.
#include "text/normalizer.h"

#include "base/json.h"
#include "base/unicode.h"
#include "text/tokenizer_fixture.h"

namespace moebius {
namespace {

std::string normalized(const std::string& part, const std::string& input) {
  AlignedText text({input});
  const Json file = Json::parse("{\"normalizer\": " + part + "}");
  Normalizer::load(JsonView(file, "test"), "normalizer")->apply(text);
  return text.text();
}

std::string replaced(const std::string& regex, const std::string& text) {
  return normalized(R"({"type": "Replace", "content": "-", "pattern": {"Regex": )" +
                        nlohmann::json(regex).dump() + "}}",
                    text);
}

TEST(Normalizer, PrependLeavesEmptyTextAlone) {
  const std::string part = R"({"type": "Prepend", "prepend": "_"})";
  EXPECT_EQ(normalized(part, ""), "");
  EXPECT_EQ(normalized(part, " a"), "_ a");
}

TEST(Normalizer, ReplaceLiteral) {
  const std::string part = R"({"type": "Replace", "content": "-", "pattern": {"String": "aa"}})";
  EXPECT_EQ(normalized(part, "aaaaab.*"), "--ab.*");
  EXPECT_EQ(
      normalized(R"({"type": "Replace", "content": "-", "pattern": {"String": ""}})", "ab\xC3\xA9"),
      "-a-b-\xC3\xA9-");
}

TEST(Normalizer, ReplaceRegex) {
  EXPECT_EQ(replaced(" {2,}", "a  b c   "), "a-b c-");
  EXPECT_EQ(replaced("x*", "abxx\nba g\xC3\xA9"), "-a-b-\n-b-a- -g-\xC3\xA9-");
  EXPECT_EQ(replaced("a|", "abxx"), "-b-x-x-");
  EXPECT_EQ(replaced("^", "ab\nc"), "-ab\n-c");
  EXPECT_EQ(replaced("\\h", "fz 9"), "-z -");
  EXPECT_EQ(replaced("\\s", "a\xC2\x85\xE1\xA0\x8E\xE3\x80\x80"), "a-\xE1\xA0\x8E-");
  EXPECT_EQ(replaced("[^\\s\\p{L}]", "a 1\xF0\xAE\xAF\xB0"), "a -\xF0\xAE\xAF\xB0");  // U+2EBF0
  EXPECT_EQ(replaced("[]x[:digit:]]", "]x1y"), "---y");
}

TEST(Normalizer, Strip) {
  EXPECT_EQ(normalized(R"({"type": "Strip", "strip_left": true, "strip_right": true})",
                       "\xC2\x85\xE2\x80\xA8 a b\n"),
            "a b");
  EXPECT_EQ(normalized(R"({"type": "Strip", "strip_left": true, "strip_right": false})", " a "),
            "a ");
  EXPECT_EQ(normalized(R"({"type": "Strip", "strip_left": false, "strip_right": true})", " a "),
            " a");
  EXPECT_EQ(normalized(R"({"type": "Strip", "strip_left": false, "strip_right": true})", "  "), "");
}

TEST(Normalizer, FormsAndLowercase) {
  EXPECT_EQ(normalized(R"({"type": "NFC"})", "e\xCC\x81"), "\xC3\xA9");
  EXPECT_EQ(normalized(R"({"type": "NFD"})", "\xC3\xA9"), "e\xCC\x81");
  EXPECT_EQ(normalized(R"({"type": "NFKC"})", "\xEF\xAC\x81"), "fi");
  EXPECT_EQ(normalized(R"({"type": "NFKD"})", "\xEF\xAC\x81\xC3\xA9"), "fie\xCC\x81");
  EXPECT_EQ(normalized(R"({"type": "NFC"})", std::string("e\xCC\x81\0x", 5)),
            std::string("\xC3\xA9\0x", 4));
  EXPECT_EQ(normalized(R"({"type": "Lowercase"})", "\xC4\xB0\xC3\x80\xCE\xA3 A"),
            "i\xCC\x87\xC3\xA0\xCF\x83 a");
}

TEST(Normalizer, Classes) {
  EXPECT_EQ(char_class(U'a'), CharClass::letter);
  EXPECT_EQ(char_class(0x2EBF0), CharClass::letter);  // Unicode 15.1
  EXPECT_EQ(char_class(0x10D40), CharClass::number);  // Unicode 16
  EXPECT_EQ(char_class(0x180E), CharClass::other);
  EXPECT_TRUE(is_white_space(0x85));
  EXPECT_FALSE(is_white_space(0x1C));
  EXPECT_TRUE(is_word_char(U'_'));
  EXPECT_TRUE(is_word_char(0x301));
  EXPECT_FALSE(is_word_char(0xBD));
}

TEST(Normalizer, ATextMayNotGrowWithoutBound) {
  std::string parts;
  for (int i = 0; i < 40; ++i) {
    parts += std::string(i == 0 ? "" : ",") +
             R"({"type": "Replace", "content": "aa", "pattern": {"String": "a"}})";
  }
  EXPECT_THROW(normalized(R"({"type": "Sequence", "normalizers": [)" + parts + "]}", "a"), Error);
}

}  // namespace
}  // namespace moebius
