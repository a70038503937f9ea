#include "text/companion_tokens.h"

#include <gtest/gtest.h>

#include "base/support.h"

namespace moebius {
namespace {

using support::TempDir;

class CompanionTokensTest : public ::testing::Test {
 protected:
  CompanionTokens read(TokenizerClass kind = TokenizerClass::other) {
    return {directory_.path(), kind};
  }
  std::string error() {
    return support::message_of(directory_.path(), [&] { read(); });
  }
  /// Contents of a list of added tokens, special ones marked.
  static std::vector<std::string> contents(const nlohmann::json& list) {
    std::vector<std::string> out;
    for (const auto& token : list) {
      out.push_back(token["content"].get<std::string>() + (token["special"] == true ? "!" : ""));
    }
    return out;
  }
  TempDir directory_;
};

using Strings = std::vector<std::string>;

TEST_F(CompanionTokensTest, NoFilesNameNothing) {
  EXPECT_FALSE(read().name_any());
  EXPECT_EQ(read().list().size(), 0u);
  EXPECT_EQ(read(TokenizerClass::llama).named("bos_token"), "<s>");
  EXPECT_FALSE(read(TokenizerClass::llama).name_any());
}

TEST_F(CompanionTokensTest, ListedTokensComeFirstInTheOrderOfTheirIds) {
  directory_.write("tokenizer_config.json",
                   R"({"added_tokens_decoder": {"12": {"content": "b", "special": false},
                       "7": {"content": "a", "special": true, "lstrip": true}},
                       "eos_token": "b", "pad_token": "p", "image_token": "i",
                       "extra_special_tokens": ["x", "a"]})");
  const CompanionTokens tokens = read();
  EXPECT_EQ(contents(tokens.list()), (Strings{"a!", "b!", "p!", "i!", "x!"}));
  EXPECT_EQ(tokens.list()[0]["lstrip"], true);
  EXPECT_EQ(tokens.names().dump(), R"({"eos_token":"b","pad_token":"p","image_token":"i"})");
}

TEST_F(CompanionTokensTest, ListReplacesOlderFiles) {
  directory_.write("added_tokens.json", R"({"old": 5})");
  directory_.write("special_tokens_map.json", R"({"eos_token": "e", "bos_token": null})");
  EXPECT_EQ(contents(read(TokenizerClass::gpt2).list()), (Strings{"old", "e!", "<|endoftext|>!"}));
  EXPECT_EQ(read(TokenizerClass::gpt2).named("bos_token"), "");
  directory_.write("tokenizer_config.json", R"({"added_tokens_decoder": {}})");
  EXPECT_EQ(contents(read().list()), Strings{});
}

TEST_F(CompanionTokensTest, MainFileKeepsItsTokensAndGetsNewProperties) {
  directory_.write("tokenizer_config.json",
                   R"({"added_tokens_decoder": {"0": {"content": "<s>", "rstrip": true}},
                       "unk_token": "<unk>"})");
  const auto main = nlohmann::json::parse(
      R"([{"id": 0, "content": "<s>", "special": true, "normalized": false}])");
  const nlohmann::json list =
      read(TokenizerClass::llama).extend(main, [](const std::string&) { return false; });
  EXPECT_EQ(contents(list), (Strings{"<s>!", "<unk>!"})) << "a default that is absent is left out";
  EXPECT_EQ(list[0]["rstrip"], true);
  EXPECT_EQ(list[0]["id"], 0);
}

TEST_F(CompanionTokensTest, MalformedFilesAreNamed) {
  directory_.write("tokenizer_config.json", R"({"added_tokens_decoder": {"x": {"content": "a"}}})");
  EXPECT_EQ(error(), "tokenizer_config.json: added_tokens_decoder: \"x\" is not a token id");
  directory_.write("tokenizer_config.json", R"({"eos_token": {"text": "a"}})");
  EXPECT_EQ(error(), "tokenizer_config.json: eos_token: \"content\" is missing");
  directory_.write("tokenizer_config.json", "{}");
  directory_.write("added_tokens.json", R"({"a": -1})");
  EXPECT_NE(error().find("added_tokens.json: \"a\""), std::string::npos) << error();
}

}  // namespace
}  // namespace moebius
