// What a template from outside may not do, and what the errors say. That good templates render as
// Jinja2 renders them is for the tests in Python, which have Jinja2.
#include "text/jinja/template.h"

#include <nlohmann/json.hpp>

#include "base/random.h"
#include "base/support.h"

namespace moebius::jinja {
namespace {

using support::error_of;
using support::mentions;

std::string error(std::string_view source, const Limits& limits = {}) {
  return error_of([&] { render(source, Json::object(), limits); });
}

TEST(JinjaTemplate, Renders) {
  const Json variables{{"xs", {1, 2}}, {"who", "W\u00f6rld"}};
  EXPECT_EQ(render("{% for x in xs %}{{ x }},{% endfor %}{{ who|upper }}", variables),
            "1,2,W\u00d6RLD");
  EXPECT_EQ(render("", variables), "");
}

TEST(JinjaTemplate, NothingIsSearchedAsATextThatIsEmpty) {
  EXPECT_EQ(render("{{ x|replace('7', '8') }}|{{ x|string|replace('', '-') }}", Json::object()),
            "|-");
}

TEST(JinjaTemplate, OneIsRenderedManyTimes) {
  const Template one = Template::parse("{% set x = x + 1 %}{{ x }}", "t");
  EXPECT_EQ(one.render({{"x", 1}}), "2");
  EXPECT_EQ(one.render({{"x", 1}}), "2");
}

TEST(JinjaTemplate, ErrorsNameTemplateAndLine) {
  EXPECT_TRUE(mentions(error("\n{% include 'x' %}"), {"template", "line 2", "'include'"}));
  EXPECT_TRUE(mentions(error("{% for x in y recursive %}"), {"line 1", "recursive"}));
  EXPECT_TRUE(mentions(error("\n\n{{ 1|wordwrap }}"), {"line 3", "'wordwrap'"}));
  EXPECT_TRUE(mentions(error("{{ 1 is strange }}"), {"'strange'"}));
  EXPECT_TRUE(mentions(error("{{ 'a'.encode() }}"), {"'encode'"}));
  EXPECT_TRUE(mentions(error("{{ {}.update({}) }}"), {"dict"}));
  EXPECT_TRUE(mentions(error("{{ cycler(1) }}"), {"'cycler' is undefined"}));
  EXPECT_TRUE(mentions(error("{% macro m() %}\n{{ x.y }}{% endmacro %}\n{{ m() }}"), {"line 2"}));
  EXPECT_TRUE(mentions(error("{{ '\xff' }}"), {"not UTF-8"}));
}

TEST(JinjaTemplate, RaisedMessagesComeAsTheyAre) {
  const Template raising = Template::parse("{{ raise_exception('No ' ~ 1) }}", "t");
  EXPECT_EQ(error_of([&] { raising.render(Json::object()); }).find("No 1 -> "), 0u);
}

TEST(JinjaTemplate, IntegersStayWithin64Bits) {
  for (const char* source :
       {"{{ 9223372036854775807 + 1 }}", "{{ -9223372036854775807 - 2 }}", "{{ 2 ** 63 }}",
        "{{ 3037000500 * 3037000500 }}", "{{ (-9223372036854775807 - 1) // -1 }}",
        "{{ -(-9223372036854775807 - 1) }}", "{{ (-9223372036854775807 - 1)|abs }}",
        "{{ '9223372036854775808'|int }}", "{{ 1e19|int }}"}) {
    EXPECT_TRUE(mentions(error(source), {"64 bits"})) << source;
  }
  EXPECT_TRUE(mentions(error_of([] { render("{{ x }}", {{"x", 1ull << 63}}); }), {"64 bits"}));
  EXPECT_EQ(render("{{ (-9223372036854775807 - 1) % -1 }}", Json::object()), "0");
}

TEST(JinjaTemplate, LimitsHold) {
  const Limits few{.steps = 1000};
  EXPECT_TRUE(mentions(error("{% for x in range(900) %}{{ x }}{% endfor %}", few), {"1000 steps"}));
  EXPECT_EQ(error("{% for x in range(9) %}{{ x }}{% endfor %}", few), "no error");
  const Limits small{.bytes = std::size_t{1} << 20};
  EXPECT_TRUE(mentions(error("{{ 'x' * 2000000 }}", small), {"1 MiB"}));
  EXPECT_TRUE(
      mentions(error("{% for x in range(2000) %}" + std::string(1000, 'x') + "{% endfor %}", small),
               {"1 MiB"}));
  const Limits flat{.depth = 20};
  EXPECT_TRUE(mentions(error("{% macro m(n) %}{{ m(n) }}{% endmacro %}{{ m(1) }}", flat), {"20"}));
  EXPECT_TRUE(mentions(error("{{ range(100001) }}"), {"100000"}));
}

TEST(JinjaTemplate, DepthOfTheTreeIsBounded) {
  for (const char* open : {"(", "[", "{1:", "not ", "-", "x[", "f(", "1 if 1 else "}) {
    std::string source = "{{ ";
    for (int i = 0; i < 5000; ++i) source += open;
    EXPECT_TRUE(mentions(error(source), {"too deeply"})) << open;
  }
  for (const char* more : {"+1", ".a", "[0]", "()", "|e", " is odd", " and 1", "**1"}) {
    std::string source = "{{ 1";
    for (int i = 0; i < 5000; ++i) source += more;
    EXPECT_NE(error(source + " }}"), "no error") << more;
  }
  std::string tags;
  for (int i = 0; i < 5000; ++i) tags += "{% if 1 %}";
  EXPECT_TRUE(mentions(error(tags), {"too deeply"}));
  std::string targets = "{% set ";
  for (int i = 0; i < 5000; ++i) targets += "(";
  EXPECT_TRUE(mentions(error(targets), {"too deeply"}));
}

TEST(JinjaTemplate, JsonIsCheckedToo) {
  EXPECT_TRUE(mentions(error_of([] { render("{{ x }}", {{"x", "\xff"}}); }), {"UTF-8"}));
  Json deep = Json::array();
  for (int i = 0; i < 5000; ++i) deep = Json::array({std::move(deep)});
  EXPECT_TRUE(mentions(error_of([&] { render("{{ x }}", {{"x", deep}}); }), {"nest"}));
}

/// Pieces of templates in any order: whatever comes out, it is a text or an Error.
TEST(JinjaTemplate, AnyBytesEnd) {
  const std::vector<std::string> pieces{"{{",
                                        "}}",
                                        "{%",
                                        "%}",
                                        "{#",
                                        "#}",
                                        "-",
                                        "+",
                                        " ",
                                        "\n",
                                        "'",
                                        "\"",
                                        "\\",
                                        "if",
                                        "else",
                                        "elif",
                                        "endif",
                                        "for",
                                        "in",
                                        "endfor",
                                        "set",
                                        "endset",
                                        "x",
                                        "y",
                                        "loop",
                                        ".index",
                                        ".last",
                                        "=",
                                        "==",
                                        "(",
                                        ")",
                                        "[",
                                        "]",
                                        "{",
                                        "}",
                                        ":",
                                        ",",
                                        ".",
                                        "|",
                                        "~",
                                        "**",
                                        "//",
                                        "%",
                                        "*",
                                        "is",
                                        "not",
                                        "and",
                                        "or",
                                        "defined",
                                        "odd",
                                        "upper",
                                        "length",
                                        "join",
                                        "map",
                                        "list",
                                        "sort",
                                        "tojson",
                                        "items",
                                        "0",
                                        "1",
                                        "-1",
                                        "99999999999",
                                        "1.5",
                                        "'a'",
                                        "'\\x41'",
                                        "range(9)",
                                        "namespace(a=1)",
                                        "macro m(a)",
                                        "endmacro",
                                        "m(1)",
                                        "call m()",
                                        "endcall",
                                        "caller()",
                                        "filter upper",
                                        "endfilter",
                                        "raw",
                                        "endraw",
                                        "break",
                                        "continue",
                                        "with",
                                        "endwith",
                                        "generation",
                                        "endgeneration",
                                        "split",
                                        "(',')",
                                        "replace",
                                        "strip()",
                                        "[::-1]",
                                        "[1:]",
                                        "{% for x in xs %}",
                                        "{% endfor %}",
                                        "{% if x %}",
                                        "{% endif %}",
                                        "{{ x }}",
                                        "\xc3\xa9",
                                        "\xff",
                                        "\xe2\x80",
                                        std::string(1, '\0')};
  const Json variables{{"xs", {1, "two", nullptr, {{"a", 1}}}}, {"x", "text"}, {"y", {{"k", "v"}}}};
  const Limits limits{.steps = 20'000, .bytes = std::size_t{1} << 20, .depth = 200};
  Random random(1, stream_of("jinja"));
  int rendered = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::string source;
    for (std::uint64_t n = random.next_below(25); n > 0; --n)
      source += pieces[random.next_below(pieces.size())];
    try {
      render(source, variables, limits);
      ++rendered;
    } catch (const Error&) {
    }
  }
  EXPECT_GT(rendered, 500);
}

}  // namespace
}  // namespace moebius::jinja
