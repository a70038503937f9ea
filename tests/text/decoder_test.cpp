// From ids to bytes, at once and as a stream.
#include "base/utf8.h"
#include "text/tokenizer_fixture.h"

namespace moebius {
namespace {

/// A tokenizer whose tokens are `tokens`, numbered from 0, with the given decoder.
Tokenizer with_tokens(const std::vector<std::string>& tokens, const std::string& decoder) {
  auto json = small_tokenizer();
  json["model"]["vocab"] = nlohmann::json::object();
  json["model"]["merges"] = nlohmann::json::array();
  for (std::size_t i = 0; i < tokens.size(); ++i) json["model"]["vocab"][tokens[i]] = i;
  json["decoder"] = nlohmann::json::parse(decoder);
  return make_tokenizer(json);
}

std::string streamed(const Tokenizer& tokenizer, const Ids& prompt, const Ids& ids) {
  StreamDecoder stream(tokenizer, prompt);
  std::string out;
  for (const std::int32_t id : ids) {
    const std::string part = stream.push(id);
    EXPECT_EQ(find_invalid_utf8(part), npos);
    out += part;
  }
  return out + stream.finish();
}

/// Decodes all tokens in order, at once and as a stream behind every possible prompt.
std::string decoded(const std::vector<std::string>& tokens, const std::string& decoder) {
  const Tokenizer tokenizer = with_tokens(tokens, decoder);
  Ids ids(tokens.size());
  for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<std::int32_t>(i);
  const std::string whole = tokenizer.decode(ids, false);
  EXPECT_EQ(streamed(tokenizer, {}, ids), replace_invalid_utf8(whole));
  return whole;
}

TEST(Decoder, EachKind) {
  EXPECT_EQ(decoded({"a", "b"}, "null"), "a b");
  EXPECT_EQ(decoded({"a", "b"}, R"({"type": "Fuse"})"), "ab");
  EXPECT_EQ(decoded({"a",
                     "\xC4\xA0"
                     "b",
                     "a b", "\xC3\xA9"},
                    R"({"type": "ByteLevel"})"),
            "a ba b\xE9");
  EXPECT_EQ(decoded({"<0xC3>", "<0xA9>", "a", "<0xe2>", "<0x4>", "<0x41>"},
                    R"({"type": "ByteFallback"})"),
            "\xC3\xA9"
            "a\xE2<0x4>A");
  EXPECT_EQ(decoded({"  a   ", "    ", "b"},
                    R"({"type": "Strip", "content": " ", "start": 2, "stop": 1})"),
            "a   b");
}

TEST(Decoder, PiecesMeetOnlyWhereTheyAreFused) {
  const std::string strip = R"({"type": "Strip", "content": "A", "start": 1, "stop": 0})";
  EXPECT_EQ(
      decoded({"<0x41>", "AAb", "<0x42>"},
              R"({"type": "Sequence", "decoders": [{"type": "ByteFallback"}, )" + strip + "]}"),
      "AbB");
  const std::string replace =
      R"({"type": "Replace", "pattern": {"String": "aab"}, "content": "-"})";
  const std::vector<std::string> tokens = {"a", "aa", "b", "caa", "ba"};
  EXPECT_EQ(decoded(tokens, replace), "aaabcaaba");
  EXPECT_EQ(
      decoded(tokens, R"({"type": "Sequence", "decoders": [{"type": "Fuse"}, )" + replace + "]}"),
      "a-c-a");
  EXPECT_EQ(decoded(tokens, R"({"type": "Sequence", "decoders": [{"type": "Fuse"},
              {"type": "Replace", "pattern": {"Regex": "a+b"}, "content": "-"}]})"),
            "-c-a");
}

constexpr const char* kLlama = R"({"type": "Sequence", "decoders": [
    {"type": "Replace", "pattern": {"String": "_"}, "content": " "}, {"type": "ByteFallback"},
    {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]})";

TEST(Decoder, OnlyTheVeryFirstSpaceGoes) {
  const Tokenizer tokenizer = with_tokens({"_a", "_"}, kLlama);
  EXPECT_EQ(tokenizer.decode(Ids{0, 0}, true), "a a");
  EXPECT_EQ(tokenizer.decode(Ids{1, 0}, true), " a");
  EXPECT_EQ(streamed(tokenizer, {}, {0, 0}), "a a");
  EXPECT_EQ(streamed(tokenizer, {0}, {0, 0}), " a a");
  EXPECT_THROW(tokenizer.decode(Ids{0, 2}, true), Error);
  EXPECT_THROW(tokenizer.decode(Ids{-1}, true), Error);
  try {
    StreamDecoder(tokenizer, {}).push(77);
    FAIL() << "accepted an id outside the vocabulary";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("77"), std::string::npos);
  }
}

TEST(Decoder, StreamWaitsForTheWholeCharacter) {
  const Tokenizer tokenizer = with_tokens({"<0xF0>", "<0x9F>", "<0x98>", "<0x80>", "_a"}, kLlama);
  StreamDecoder stream(tokenizer, {});
  EXPECT_EQ(stream.push(0), "");
  EXPECT_EQ(stream.push(1), "");
  EXPECT_EQ(stream.push(2), "");
  EXPECT_EQ(stream.push(3), "\xF0\x9F\x98\x80");
  EXPECT_EQ(stream.push(0), "");
  EXPECT_EQ(stream.push(4), "\xEF\xBF\xBD a");
  EXPECT_EQ(stream.push(0), "");
  EXPECT_EQ(stream.finish(), "\xEF\xBF\xBD");
}

TEST(Decoder, StreamEqualsDecodeOnRealTokenizers) {
  for (const char* name : {"tokenizers/gpt2", "tokenizers/llama2", "models/stories260K"}) {
    if (!fs::exists(test_data() / name)) GTEST_SKIP() << "no " << test_data() / name;
    const Tokenizer tokenizer = Tokenizer::load(test_data() / name);
    std::uint32_t state = 7;
    for (int round = 0; round < 200; ++round) {
      Ids ids;  // any ids at all: most of these sequences cut characters
      for (int i = 0; i < 40; ++i) {
        state = state * 1664525 + 1013904223;
        const auto limit = round % 2 ? 300u : static_cast<std::uint32_t>(tokenizer.vocab_size());
        ids.push_back(static_cast<std::int32_t>((state >> 8) % limit));
      }
      const std::string whole = tokenizer.decode(ids, true);
      EXPECT_EQ(streamed(tokenizer, {}, ids), replace_invalid_utf8(whole));
      const Ids prompt(ids.begin(), ids.begin() + 13), rest(ids.begin() + 13, ids.end());
      const std::string before = tokenizer.decode(prompt, true);
      ASSERT_TRUE(whole.starts_with(before));
      EXPECT_EQ(streamed(tokenizer, prompt, rest),
                replace_invalid_utf8(whole.substr(before.size())));
    }
    for (const std::string& text : hard_texts()) {
      const Ids ids = tokenizer.encode(text);
      EXPECT_EQ(streamed(tokenizer, {}, ids), tokenizer.decode(ids, true));
    }
  }
}

}  // namespace
}  // namespace moebius
