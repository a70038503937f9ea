#include "config/options.h"

#include "base/support.h"

namespace moebius {
namespace {

using support::error_of;
using support::mentions;
using support::TempDir;

struct Values {
  bool flag = false;
  std::int64_t count = 3;
  double rate = 0.5;
  std::string name = "default", kind = "a";
  fs::path file, config;
  std::vector<std::string> list;

  OptionSet declare() {
    OptionSet options;
    options.add("config", config, "");
    options.add("flag", flag, "");
    options.add("count", count, "");
    options.add("rate", rate, "");
    options.add("name", name, "");
    options.choice("kind", kind, "", {"a", "b"});
    options.add("file", file, "");
    options.add("list", list, "");
    return options;
  }
};

class ConfigFile : public ::testing::Test {
 protected:
  std::string read(const std::string& yaml) {
    return error_of([&] { apply_config_file(dir_.write("job.yaml", yaml), options_); });
  }
  TempDir dir_;
  Values values_;
  OptionSet options_ = values_.declare();
};

TEST_F(ConfigFile, SetsEveryType) {
  ASSERT_EQ(
      read("flag: true\ncount: -4\nrate: 1e-3\nname: x y\nkind: b\nfile: a/b\nlist: [p, q]\n"),
      "no error");
  EXPECT_TRUE(values_.flag);
  EXPECT_EQ(values_.count, -4);
  EXPECT_EQ(values_.rate, 1e-3);
  EXPECT_EQ(values_.name, "x y");
  EXPECT_EQ(values_.kind, "b");
  EXPECT_EQ(values_.file, "a/b");
  EXPECT_EQ(values_.list, (std::vector<std::string>{"p", "q"}));
  EXPECT_TRUE(options_.given("count"));
}

TEST_F(ConfigFile, TheCommandLineWins) {
  values_.count = 7;
  options_.find("count")->given = true;
  ASSERT_EQ(read("count: 1\nrate: 2\n"), "no error");
  EXPECT_EQ(values_.count, 7);
  EXPECT_EQ(values_.rate, 2.0);
}

TEST_F(ConfigFile, AnUnknownKeyNamesTheLineAndTheNearestOption) {
  EXPECT_TRUE(
      mentions(read("flag: true\ncuont: 1\n"), {"job.yaml:2", "cuont", "did you mean count?"}));
  const std::string far = read("nothing-like-it: 1\n");
  EXPECT_TRUE(mentions(far, {"job.yaml:1", "unknown option"}));
  EXPECT_EQ(far.find("did you mean"), std::string::npos);
  EXPECT_TRUE(mentions(read("config: other.yaml\n"), {"unknown option config"}));
}

TEST_F(ConfigFile, ARepeatedKeyIsAnError) {
  EXPECT_TRUE(mentions(read("count: 1\nrate: 2\ncount: 1\n"), {"job.yaml:3", "count again"}));
}

TEST_F(ConfigFile, AWrongTypeNamesLineAndOption) {
  const auto expect = [&](const std::string& yaml, std::string_view option, std::string_view what) {
    EXPECT_TRUE(mentions(read(yaml), {"job.yaml:1", option, what})) << yaml;
  };
  expect("count: 1.5\n", "--count", "not an integer");
  expect("count: 99999999999999999999\n", "--count", "not an integer");
  expect("count: ''\n", "--count", "not an integer");
  expect("rate: fast\n", "--rate", "not a number");
  expect("flag: maybe\n", "--flag", "not true or false");
  expect("kind: c\n", "--kind", "not one of a, b");
  expect("count: [1, 2]\n", "--count", "one value was expected, 2 given");
  expect("count:\n", "count", "has no value");
  expect("count: {a: 1}\n", "count", "has no value");
}

TEST_F(ConfigFile, NestedListsAndKeysAreErrorsThatNameTheFile) {
  EXPECT_TRUE(mentions(read("list: [{a: 1}]\n"), {"job.yaml"}));
  EXPECT_TRUE(mentions(read("[a, b]: 1\n"), {"job.yaml"}));
}

TEST_F(ConfigFile, TextThatIsNoMapIsAnError) {
  EXPECT_TRUE(mentions(read("- a\n- b\n"), {"job.yaml", "option: value"}));
  EXPECT_TRUE(mentions(read("count: [1\n"), {"job.yaml:"}));
  EXPECT_EQ(read(""), "no error");
}

TEST_F(ConfigFile, ErrorsAreOfUsage) {
  EXPECT_THROW(apply_config_file(dir_.write("a.yaml", "cuont: 1\n"), options_), UsageError);
  EXPECT_THROW(apply_config_file(dir_.write("b.yaml", "count: x\n"), options_), UsageError);
  EXPECT_THROW(apply_config_file(dir_.write("c.yaml", "a: ]\n"), options_), UsageError);
}

TEST(EchoConfig, ReadBackGivesTheSameValues) {
  Values values;
  values.flag = true;
  values.count = INT64_MIN;
  values.rate = 0.1 + 0.2;
  values.name =
      "a \"quoted\" \\ text:\n\ttab, # not a comment, \xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80";
  values.kind = "b";
  values.file = "some dir/with: colon";
  values.list = {"true", "1.5", "", "a, b", "- x", "key: value", "~", "line\nbreak"};
  const TempDir dir;
  const fs::path file = dir.write("echo.yaml", echo_config(values.declare()));
  Values back;
  OptionSet options = back.declare();
  ASSERT_EQ(error_of([&] { apply_config_file(file, options); }), "no error") << read_file(file);
  EXPECT_EQ(back.flag, values.flag);
  EXPECT_EQ(back.count, values.count);
  EXPECT_EQ(back.rate, values.rate);
  EXPECT_EQ(back.name, values.name);
  EXPECT_EQ(back.kind, values.kind);
  EXPECT_EQ(back.file, values.file);
  EXPECT_EQ(back.list, values.list);
}

TEST(EchoConfig, DefaultsCanBeReadBackToo) {
  Values values;
  values.kind = "";  // "as stored": an empty default stands beside the choices
  const TempDir dir;
  const fs::path file = dir.write("echo.yaml", echo_config(values.declare()));
  OptionSet options = values.declare();
  EXPECT_EQ(error_of([&] { apply_config_file(file, options); }), "no error") << read_file(file);
}

enum class Colour { red, green, blue };
constexpr auto names_of(Colour) {
  return std::array{"red", "green", "blue"};
}

TEST(EnumNames, LeadBothWays) {
  EXPECT_EQ(name_of(Colour::blue), "blue");
  EXPECT_EQ(value_named<Colour>("green"), Colour::green);
  EXPECT_EQ(value_named<Colour>("Green"), std::nullopt);
  EXPECT_EQ(value_named<Colour>(""), std::nullopt);
}

struct Palette {
  Colour wall = Colour::green;
  std::optional<Colour> door;
  std::int64_t coats = 2;
  double gloss = 0.5, thinner = 0.1;

  void declare(OptionSet& options) {
    options.add("wall", wall, "");
    options.group("Door");
    options.add("door", door, "").one_of({"red", "blue"});
    options.add("coats", coats, "").at_least(1);
    options.add("gloss", gloss, "").between(0, 1);
    options.add("thinner", thinner, "").above(0).required = true;
  }
};

class PaletteOptions : public ::testing::Test {
 protected:
  PaletteOptions() { palette_.declare(options_); }
  std::string set(const char* name, const std::string& value) {
    return error_of([&] { set_value(*options_.find(name), {value}); });
  }

  Palette palette_;
  OptionSet options_;
};

TEST_F(PaletteOptions, EnumsAreSetByNameAndListTheirNamesOtherwise) {
  EXPECT_EQ(value_text(*options_.find("wall")), "green");
  EXPECT_EQ(value_text(*options_.find("door")), "");
  EXPECT_EQ(set("wall", "blue"), "no error");
  EXPECT_EQ(set("door", "red"), "no error");
  EXPECT_EQ(palette_.wall, Colour::blue);
  EXPECT_EQ(palette_.door, Colour::red);
  EXPECT_EQ(value_text(*options_.find("door")), "red");
  EXPECT_EQ(set("wall", "pink"), "--wall pink: not one of red, green, blue");
  EXPECT_EQ(set("door", "green"), "--door green: not one of red, blue");
  EXPECT_EQ(palette_.door, Colour::red);
}

TEST_F(PaletteOptions, EnumsAreEchoedAndReadBack) {
  palette_.wall = Colour::red;
  const TempDir dir;
  const fs::path file = dir.write("echo.yaml", echo_config(options_));
  Palette back{.door = Colour::blue};
  OptionSet options;
  back.declare(options);
  ASSERT_EQ(error_of([&] { apply_config_file(file, options); }), "no error") << read_file(file);
  EXPECT_EQ(back.wall, Colour::red);
  EXPECT_EQ(back.door, Colour::blue);  // no value was echoed, so the file sets none
}

TEST_F(PaletteOptions, NumbersOutOfRangeNameOptionValueAndRange) {
  EXPECT_EQ(set("coats", "0"), "--coats 0: must be at least 1");
  EXPECT_EQ(set("coats", "1"), "no error");
  EXPECT_EQ(set("gloss", "1.5"), "--gloss 1.5: must be between 0 and 1");
  EXPECT_EQ(set("gloss", "-0.1"), "--gloss -0.1: must be between 0 and 1");
  EXPECT_EQ(set("gloss", "1"), "no error");
  EXPECT_EQ(set("thinner", "0"), "--thinner 0: must be positive");
  EXPECT_EQ(set("thinner", "nan"), "--thinner nan: not finite");
  EXPECT_EQ(set("thinner", "inf"), "--thinner inf: not finite");
  EXPECT_EQ(palette_.coats, 1);
  EXPECT_EQ(palette_.thinner, 0.1);
}

TEST(NumberRange, SaysWhatAValueMustBe) {
  double value = 0;
  const auto message = [&](auto refine) {
    OptionSet options;
    refine(options.add("x", value, ""));
    return error_of([&] { set_value(*options.find("x"), {"-7"}); });
  };
  EXPECT_EQ(message([](Option& x) { x.at_least(0); }), "--x -7: must not be negative");
  EXPECT_EQ(message([](Option& x) { x.at_least(2.5); }), "--x -7: must be at least 2.5");
  EXPECT_EQ(message([](Option& x) { x.above(1); }), "--x -7: must be greater than 1");
  EXPECT_EQ(message([](Option& x) { x.above_up_to(0, 1); }), "--x -7: must be in (0, 1]");
  EXPECT_EQ(message([](Option& x) { x.between(-7, 0); }), "no error");
}

TEST_F(PaletteOptions, ValuesThatCodeSetAreCheckedToo) {
  EXPECT_NO_THROW(check_ranges_of(palette_));
  palette_.coats = -1;
  EXPECT_EQ(error_of([&] { check_ranges_of(palette_); }), "--coats -1: must be at least 1");
}

TEST_F(PaletteOptions, RequiredOnesMustBeGiven) {
  EXPECT_EQ(error_of([&] { require_given(options_); }), "--thinner is missing -> see --help");
  options_.find("thinner")->given = true;
  EXPECT_NO_THROW(require_given(options_));
}

TEST_F(PaletteOptions, GroupsAreThoseOfTheDeclaration) {
  EXPECT_EQ(options_.find("wall")->group, "");
  EXPECT_EQ(options_.find("coats")->group, "Door");
}

TEST_F(PaletteOptions, AFileNamesTheLineOfAValueOutOfRange) {
  const TempDir dir;
  const std::string error = error_of(
      [&] { apply_config_file(dir.write("job.yaml", "wall: red\ncoats: 0\n"), options_); });
  EXPECT_TRUE(mentions(error, {"job.yaml:2", "--coats 0", "at least 1"}));
}

TEST(NearestName, FindsSlipsAndNothingFarAway) {
  const std::vector<std::string> known{"top-k", "top-p", "threads", "max-tokens"};
  EXPECT_EQ(nearest_name("thread", known), "threads");
  EXPECT_EQ(nearest_name("max-token", known), "max-tokens");
  EXPECT_EQ(nearest_name("topk", known), "top-k");
  EXPECT_EQ(nearest_name("quantise-everything", known), "");
  EXPECT_EQ(nearest_name("x", {}), "");
}

TEST(CommonOptions, AreDeclaredOnceEach) {
  CommonOptions common;
  OptionSet options;
  common.declare(options);
  for (const char* name :
       {"config", "threads", "device", "seed", "log-level", "overwrite", "json"}) {
    ASSERT_NE(options.find(name), nullptr) << name;
  }
  EXPECT_TRUE(mentions(error_of([&] { set_value(*options.find("log-level"), {"loud"}); }),
                       {"--log-level loud", "debug, info, warn, error, off"}));
}

}  // namespace
}  // namespace moebius
