// What a tokenizer.json must not be, and what the error says about it.
#include "text/tokenizer_fixture.h"

namespace moebius {
namespace {

using ::testing::AssertionFailure;
using ::testing::AssertionResult;
using ::testing::AssertionSuccess;

AssertionResult mentions(const std::string& message, std::initializer_list<const char*> parts) {
  for (const char* part : parts) {
    if (message.find(part) == std::string::npos) {
      return AssertionFailure() << '"' << message << "\" does not mention " << part;
    }
  }
  return AssertionSuccess();
}

TEST(TokenizerLoad, AbsentFileIsNamed) {
  const TemporaryFolder folder;
  try {
    Tokenizer::load(folder.path());
    FAIL() << "loaded nothing";
  } catch (const Error& error) {
    EXPECT_TRUE(mentions(error.what(), {folder.path().c_str(), "tokenizer.json"}));
    EXPECT_FALSE(error.hint().empty());
  }
}

TEST(TokenizerLoad, MalformedFiles) {
  EXPECT_TRUE(mentions(load_error(std::string("{\"model\": ")),
                       {"tokenizer.json", "malformed JSON", "line 1, column 11"}));
  EXPECT_TRUE(mentions(load_error(std::string("")), {"malformed JSON"}));
  EXPECT_TRUE(mentions(load_error(std::string("[1]")), {"object was expected"}));
  EXPECT_TRUE(mentions(load_error(std::string("{}")), {"model", "is missing"}));
  EXPECT_TRUE(mentions(load_error(std::string("{\"x\": \"\xFF\"}")), {"not UTF-8"}));
  EXPECT_TRUE(mentions(load_error(std::string(101, '[')), {"nested deeper than 100"}));
  EXPECT_TRUE(mentions(load_error(std::string("{\"[[\\\"[[\": ") + std::string(99, '[')),
                       {"malformed JSON"}));
}

TEST(TokenizerLoad, AFileThatIsTooLargeIsNotRead) {
  const TemporaryFolder folder;
  const fs::path file = folder.path() / "tokenizer.json";
  std::ofstream(file).close();
  fs::resize_file(file, (std::size_t{256} << 20) + 1);
  try {
    Tokenizer::load(folder.path());
    FAIL();
  } catch (const Error& error) {
    EXPECT_TRUE(mentions(error.what(), {"tokenizer.json", "larger than"}));
  }
}

TEST(TokenizerLoad, Vocabulary) {
  auto json = small_tokenizer();
  EXPECT_EQ(load_error(json), "");
  json["model"]["vocab"]["c"] = 1;
  EXPECT_TRUE(mentions(load_error(json), {"\"b\"", "\"c\"", "same id 1"}));
  json["model"]["vocab"]["c"] = -1;
  EXPECT_TRUE(mentions(load_error(json), {"\"c\"", "is -1"}));
  json["model"]["vocab"]["c"] = 1 << 24;
  EXPECT_TRUE(mentions(load_error(json), {"\"c\"", "is 16777216"}));
  json["model"]["vocab"]["c"] = 18446744073709551615ull;
  EXPECT_TRUE(mentions(load_error(json), {"\"c\"", "is 18446744073709551615"}));
  json["model"]["vocab"]["c"] = "2";
  EXPECT_TRUE(mentions(load_error(json), {"\"c\"", "not an integer"}));
  json["model"]["vocab"] = nlohmann::json::array();
  EXPECT_TRUE(mentions(load_error(json), {"vocab", "not an object"}));
}

TEST(TokenizerLoad, Merges) {
  auto json = small_tokenizer();
  json["model"]["merges"] = {"a b", "b c"};
  EXPECT_TRUE(mentions(load_error(json), {"entry 2", "\"bc\" is not in the vocabulary"}));
  json["model"]["merges"] = {"a b", "a z"};
  EXPECT_TRUE(mentions(load_error(json), {"entry 2", "\"z\" is not in the vocabulary"}));
  for (const nlohmann::json& bad : std::initializer_list<nlohmann::json>{
           "ab", "a b c", 7, nlohmann::json::array({"a"}), nlohmann::json::array({"a", 1})}) {
    json["model"]["merges"] = nlohmann::json::array({bad});
    EXPECT_TRUE(mentions(load_error(json), {"entry 1", "not a pair"}));
  }
  json["model"]["merges"] = nlohmann::json::array({"#version: 0.2", "a b"});
  EXPECT_EQ(load_error(json), "");
  json["model"].erase("merges");
  EXPECT_TRUE(mentions(load_error(json), {"merges", "missing"}));
}

TEST(TokenizerLoad, UnsupportedPartsAreNamed) {
  for (const auto& [key, type] : std::initializer_list<std::pair<const char*, const char*>>{
           {"normalizer", "BertNormalizer"},
           {"pre_tokenizer", "UnicodeScripts"},
           {"post_processor", "MadeUpProcessing"},
           {"decoder", "CTC"},
           {"model", "Unigram"}}) {
    auto json = small_tokenizer();
    json[key] = {{"type", type}};
    EXPECT_TRUE(mentions(load_error(json), {"tokenizer.json", key, type, "not supported"}));
    json[key] = {{"type", 3}};
    EXPECT_TRUE(mentions(load_error(json), {key, "\"type\" is not a string"}));
    json[key] = "x";
    EXPECT_TRUE(mentions(load_error(json), {key, "object was expected"}));
  }
  auto json = small_tokenizer();
  json["normalizer"] = {{"type", "Sequence"},
                        {"normalizers", {{{"type", "NFC"}}, {{"type", "Nmt"}}}}};
  EXPECT_TRUE(mentions(load_error(json), {"normalizers[1]", "Nmt"}));
}

TEST(TokenizerLoad, OptionsOfTheModel) {
  auto json = small_tokenizer();
  json["model"]["continuing_subword_prefix"] = "##";
  EXPECT_TRUE(mentions(load_error(json), {"entry 1", "\"b\" is shorter than the prefix \"##\""}));
  json["model"]["continuing_subword_prefix"] = "";
  json["model"]["dropout"] = 0.1;
  EXPECT_TRUE(mentions(load_error(json), {"dropout", "not supported"}));
  json["model"]["dropout"] = nullptr;
  json["model"]["byte_fallback"] = 1;
  EXPECT_TRUE(mentions(load_error(json), {"byte_fallback", "not true or false"}));
}

TEST(TokenizerLoad, Details) {
  auto json = small_tokenizer();
  json["pre_tokenizer"] = {
      {"type", "Split"}, {"pattern", {{"Regex", "(a"}}}, {"behavior", "Isolated"}};
  EXPECT_TRUE(mentions(load_error(json), {"malformed regular expression", "(a"}));
  json["pre_tokenizer"]["pattern"] = {{"Regex", "[a&&b]"}};
  EXPECT_TRUE(mentions(load_error(json), {"intersected"}));
  json["pre_tokenizer"]["pattern"] = {{"String", "a"}};
  json["pre_tokenizer"]["behavior"] = "Sideways";
  EXPECT_TRUE(mentions(load_error(json), {"behavior", "Sideways"}));
  json = small_tokenizer();
  json["decoder"] = {{"type", "Strip"}, {"content", "ab"}, {"start", 1}, {"stop", 0}};
  EXPECT_TRUE(mentions(load_error(json), {"content", "single character"}));
  json = small_tokenizer();
  json["added_tokens"] = {{{"id", 1}}};
  EXPECT_TRUE(mentions(load_error(json), {"added_tokens[0]", "content"}));
  json = small_tokenizer();
  json["post_processor"] = {
      {"type", "TemplateProcessing"},
      {"single", {{{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}}}},
      {"special_tokens", {{"<s>", {{"id", "<s>"}, {"ids", {77}}, {"tokens", {"<s>"}}}}}}};
  EXPECT_TRUE(mentions(load_error(json), {"post_processor", "77"}));
}

/// The message of the Error that encoding and decoding `text` throws; empty if it works.
std::string use_error(const nlohmann::json& json, const std::string& text) {
  const Tokenizer tokenizer = make_tokenizer(json);
  try {
    tokenizer.decode(tokenizer.encode(text), false);
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

TEST(HostileTokenizer, PartsThatMultiplyATextAreStopped) {
  const auto times = [](int count, const nlohmann::json& part) {
    return nlohmann::json(std::vector<nlohmann::json>(static_cast<std::size_t>(count), part));
  };
  const nlohmann::json text{{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  const nlohmann::json twice{{"type", "TemplateProcessing"},
                             {"single", {text, text}},
                             {"special_tokens", nlohmann::json::object()}};
  const nlohmann::json longer{
      {"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", "aa"}};

  nlohmann::json json = small_tokenizer();
  json["post_processor"] = {{"type", "Sequence"}, {"processors", times(3, twice)}};
  EXPECT_EQ(use_error(json, "a"), "");
  json["post_processor"]["processors"] = times(60, twice);
  EXPECT_NE(use_error(json, "a").find("post_processor"), std::string::npos);

  json = small_tokenizer();
  json["decoder"] = {{"type", "Sequence"}, {"decoders", times(3, longer)}};
  EXPECT_EQ(use_error(json, "a"), "");
  json["decoder"]["decoders"] = times(60, longer);
  EXPECT_NE(use_error(json, "a").find("replaced"), std::string::npos);
}

TEST(HostileTokenizer, AnExpressionMayBeSlowInFewPlacesOnly) {
  nlohmann::json json = small_tokenizer();
  json["pre_tokenizer"] = {{"type", "Split"},
                           {"pattern", {{"Regex", "(?=(a+a+)+$)"}}},
                           {"behavior", "Isolated"},
                           {"invert", false}};
  EXPECT_EQ(use_error(json, "aa b"), "");
  EXPECT_NE(use_error(json, std::string(200, 'a') + " ").find("limit"), std::string::npos);
}

}  // namespace
}  // namespace moebius
