#include "base/lines.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace moebius {
namespace {

using Lines = std::vector<std::string>;

Lines lines_of(std::string_view text) {
  Lines lines;
  LineReader reader(text);
  while (const auto line = reader.next()) lines.emplace_back(*line);
  EXPECT_EQ(reader.number(), lines.size());
  return lines;
}

TEST(LineReaderTest, EndsLinesWithLfOrCrlf) {
  EXPECT_EQ(lines_of("a\nb"), (Lines{"a", "b"}));
  EXPECT_EQ(lines_of("a\r\nb\r\n"), (Lines{"a", "b"}));
  EXPECT_EQ(lines_of("a\r\n\r\nb\n\n"), (Lines{"a", "", "b", ""}));
  EXPECT_EQ(lines_of(""), Lines{});
  EXPECT_EQ(lines_of("\n"), Lines{""});
}

TEST(LineReaderTest, KeepsOtherCarriageReturns) {
  EXPECT_EQ(lines_of("a\rb\r\r\nc\r"), (Lines{"a\rb\r", "c"}));
}

TEST(LineReaderTest, DropsAByteOrderMarkAtTheStartOnly) {
  EXPECT_EQ(lines_of("\xEF\xBB\xBF"
                     "a\r\n\xEF\xBB\xBF"
                     "b"),
            (Lines{"a",
                   "\xEF\xBB\xBF"
                   "b"}));
  EXPECT_EQ(lines_of("\xEF\xBB\xBF"), Lines{});
  EXPECT_EQ(lines_of("\xEF\xBB"
                     "a"),
            Lines{"\xEF\xBB"
                  "a"});
}

}  // namespace
}  // namespace moebius
