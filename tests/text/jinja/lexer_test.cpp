#include "text/jinja/lexer.h"

#include "base/support.h"

namespace moebius::jinja {
namespace {

using support::error_of;
using support::mentions;
using Kind = Token::Kind;

std::vector<Kind> kinds(std::string_view source) {
  std::vector<Kind> out;
  for (const Token& token : tokenize(source)) out.push_back(token.kind);
  return out;
}

/// The texts outside of tags, joined with '|'.
std::string texts(std::string_view source) {
  std::string out;
  for (const Token& token : tokenize(source)) {
    if (token.kind == Kind::text) out += (out.empty() ? "" : "|") + token.text;
  }
  return out;
}

TEST(JinjaLexer, CutsTagsIntoTokens) {
  EXPECT_EQ(kinds("a{{ x }}"),
            (std::vector{Kind::text, Kind::output_begin, Kind::name, Kind::output_end, Kind::end}));
  EXPECT_EQ(kinds("{%if 1.5>=2%}"),
            (std::vector{Kind::block_begin, Kind::name, Kind::real, Kind::op, Kind::integer,
                         Kind::block_end, Kind::end}));
  EXPECT_EQ(kinds(""), std::vector{Kind::end});
}

TEST(JinjaLexer, LinesAreCounted) {
  const auto tokens = tokenize("a\n{# \n #}\n{{\n x }}\r\n{{ y }}");
  std::vector<int> lines;
  for (const Token& token : tokens) {
    if (token.kind == Kind::name) lines.push_back(token.line);
  }
  EXPECT_EQ(lines, (std::vector{5, 6}));
}

TEST(JinjaLexer, WhiteSpaceControl) {
  EXPECT_EQ(texts("  {% x %}\n  b"), "  b");
  EXPECT_EQ(texts("  {%+ x +%}\n  b"), "  |\n  b");
  EXPECT_EQ(texts("a \n {%- x -%} \n b"), "a|b");
  EXPECT_EQ(texts("a {{- x -}} \n b"), "a|b");
  EXPECT_EQ(texts("  {{ x }}\nb"), "  |\nb");
  EXPECT_EQ(texts("a {% x %}\n\nb\n"), "a |\nb");
}

TEST(JinjaLexer, NumbersAndStrings) {
  const auto tokens = tokenize(R"({{ 0x1F 1_000 2.5e3 "a\n\u00e9\x41\101" }})");
  EXPECT_EQ(tokens[1].integer, 31);
  EXPECT_EQ(tokens[2].integer, 1000);
  EXPECT_EQ(tokens[3].real, 2500.0);
  EXPECT_EQ(tokens[4].text, "a\n\u00e9AA");
}

TEST(JinjaLexer, ErrorsNameTheLine) {
  const auto error = [](std::string_view source) { return error_of([&] { tokenize(source); }); };
  EXPECT_TRUE(mentions(error("\n\n{{ $ }}"), {"line 3", "'$'"}));
  EXPECT_TRUE(mentions(error("{{ 'x"), {"line 1", "string"}));
  EXPECT_TRUE(mentions(error("\n{# x"), {"line 2", "comment"}));
  EXPECT_TRUE(mentions(error("{% raw %}x"), {"endraw"}));
  EXPECT_TRUE(mentions(error("{{ (] }}"), {"']'"}));
  EXPECT_TRUE(mentions(error("{{ 99999999999999999999 }}"), {"64 bits"}));
  EXPECT_TRUE(mentions(error("{{ '\\x4' }}"), {"escape"}));
  EXPECT_TRUE(mentions(error("{{ '\\ud800' }}"), {"no character"}));
}

}  // namespace
}  // namespace moebius::jinja
