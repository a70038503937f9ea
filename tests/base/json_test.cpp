#include "base/json.h"

#include <nlohmann/json.hpp>

#include "base/support.h"

namespace moebius {
namespace {

using support::error_of;
using support::mentions;
using support::TempDir;

TEST(ParseJson, NamesFileAndPositionOfMalformedText) {
  const TempDir dir;
  for (const char* text : {"", "{", "{\"a\": }", "{\"a\": 1,}", "{} x", "\x01"}) {
    const fs::path file = dir.write("config.json", text);
    EXPECT_TRUE(mentions(error_of([&] { parse_json_file(file); }),
                         {file.string(), "malformed JSON", "line 1, column"}))
        << text;
  }
  EXPECT_TRUE(mentions(error_of([] { parse_json("{\n\n\"a\" 1}", "x.json"); }), {"line 3"}));
}

TEST(ParseJson, TextThatIsNotUtf8IsAnError) {
  EXPECT_TRUE(mentions(error_of([] { parse_json("{\"a\": \"\xFF\"}", "x.json"); }),
                       {"x.json", "not UTF-8"}));
}

TEST(ParseJson, ANumberBeyondDoubleIsAnErrorThatNamesTheFile) {
  EXPECT_TRUE(mentions(error_of([] { parse_json("{\"a\": 1e999}", "x.json"); }), {"x.json"}));
}

TEST(ParseJson, KeepsOrderAndEveryKindOfValue) {
  const std::string text =
      R"({"z":[1,-2,2.5,true,null,"x",[],{}],"a":{"z":{"y":1},"x":[[2]]},"m":18446744073709551615})";
  EXPECT_EQ(parse_json(text, "x.json").dump(), text);
  for (const char* value : {"1", "\"a\"", "null", "[]", "[1]", "{}"}) {
    EXPECT_EQ(parse_json(value, "x.json").dump(), value);
  }
}

TEST(ParseJson, AKeyGivenTwiceIsAnError) {
  EXPECT_TRUE(mentions(error_of([] { parse_json(R"({"a": 1, "b": {"c": 1, "c": 2}})", "x.json"); }),
                       {"x.json", "\"c\"", "twice"}));
  parse_json(R"({"a": {"b": 1}, "b": [{"a": 1}, {"a": 1}]})", "x.json");
}

TEST(ParseJson, DeepNestingIsAnError) {
  EXPECT_TRUE(mentions(error_of([] { parse_json(std::string(1'000'000, '['), "x.json"); }),
                       {"x.json", "nested deeper"}));
}

class JsonViewTest : public ::testing::Test {
 protected:
  const Json json_ = parse_json(R"({
    "int": 3, "negative": -2, "huge": 18446744073709551615, "real": 2.5, "text": "abc",
    "yes": true, "none": null, "list": [1, 2], "mixed": [1, "b"], "object": {"inner": 1},
    "rows": [{"a": 1}, {"a": "x"}], "numbers": [1]})",
                                "c.json");
  const JsonView view_{json_, "c.json"};
};

TEST_F(JsonViewTest, ReadsWhatIsThere) {
  EXPECT_EQ(view_.integer("int", 0, 3), 3);
  EXPECT_EQ(view_.integer("negative", -2, 0), -2);
  EXPECT_EQ(view_.number("real"), 2.5);
  EXPECT_EQ(view_.number("int"), 3.0);
  EXPECT_EQ(view_.string("text"), "abc");
  EXPECT_TRUE(view_.boolean_or("yes", false));
  EXPECT_EQ(view_.integers("list"), (std::vector<std::int64_t>{1, 2}));
  EXPECT_EQ(view_.integers("int"), std::vector<std::int64_t>{3});
  EXPECT_EQ(view_.object("object").integer("inner", 0, 9), 1);
  EXPECT_EQ(view_.objects("rows").size(), 2u);
}

TEST_F(JsonViewTest, NullAndAbsentTakeTheFallback) {
  for (const char* key : {"none", "absent"}) {
    EXPECT_FALSE(view_.has(key));
    EXPECT_EQ(view_.integer_or(key, 5, 0, 1), 5);
    EXPECT_EQ(view_.number_or(key, 0.5), 0.5);
    EXPECT_TRUE(view_.boolean_or(key, true));
    EXPECT_EQ(view_.string_or(key, "d"), "d");
    EXPECT_TRUE(view_.integers(key).empty());
  }
}

TEST_F(JsonViewTest, EveryErrorNamesFileAndKey) {
  const auto expect = [](auto action, std::string_view key, std::string_view what) {
    EXPECT_TRUE(mentions(error_of(action), {"c.json", key, what}));
  };
  for (const char* key : {"none", "absent"}) {
    expect([&] { view_.integer(key, 0, 1); }, key, "missing");
    expect([&] { view_.number(key); }, key, "missing");
    expect([&] { view_.string(key); }, key, "missing");
    expect([&] { view_.object(key); }, key, "missing");
    expect([&] { view_.objects(key); }, key, "missing");
  }
  expect([&] { view_.integer("real", 0, 9); }, "real", "not an integer");
  expect([&] { view_.integer_or("text", 1, 0, 9); }, "text", "not an integer");
  expect([&] { view_.integer("huge", 0, INT64_MAX); }, "huge", "too large");
  expect([&] { view_.integer("int", 4, 9); }, "int", "not in [4, 9]");
  expect([&] { view_.integer("negative", 0, 9); }, "negative", "is -2");
  expect([&] { view_.number("text"); }, "text", "not a number");
  expect([&] { view_.number_or("yes", 0); }, "yes", "not a number");
  expect([&] { view_.boolean_or("int", false); }, "int", "not true or false");
  expect([&] { view_.string("int"); }, "int", "not a string");
  expect([&] { view_.string_or("list", ""); }, "list", "not a string");
  expect([&] { view_.object("list"); }, "list", "a JSON object was expected, found array");
  expect([&] { view_.objects("object"); }, "object", "not a list");
  expect([&] { view_.objects("numbers"); }, "numbers[0]", "a JSON object was expected");
  expect([&] { view_.integers("mixed"); }, "mixed", "not an integer");
  expect([&] { view_.integers("text"); }, "text", "not an integer");
  expect([&] { view_.objects("rows")[1].integer("a", 0, 1); }, "rows[1]",
         "\"a\" is not an integer");
}

TEST(JsonView, WantsAnObject) {
  EXPECT_TRUE(mentions(error_of([] { JsonView(parse_json("[1]", "c.json"), "c.json"); }),
                       {"c.json", "a JSON object was expected, found array"}));
}

}  // namespace
}  // namespace moebius
