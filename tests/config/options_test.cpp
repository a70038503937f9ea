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
