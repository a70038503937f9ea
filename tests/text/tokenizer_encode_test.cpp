// Each part of the way from text to ids, with expectations taken from Hugging Face's tokenizers
// 0.23.3.
#include "text/bpe_encoder.h"
#include "text/byte_level.h"
#include "text/tokenizer_fixture.h"

namespace moebius {
namespace {

TEST(TokenizerEncode, MergesByRank) {
  const Tokenizer tokenizer = make_tokenizer(small_tokenizer());
  EXPECT_EQ(tokenizer.encode("abcab c"), (Ids{4, 3, 5, 2}));
  EXPECT_EQ(tokenizer.encode(""), Ids{});
  EXPECT_EQ(tokenizer.encode("xaxb"), (Ids{3}));  // no unknown token: characters vanish
  EXPECT_THROW(tokenizer.encode("a\xFF"), Error);
  EXPECT_EQ(tokenizer.vocab_size(), 6);
  EXPECT_EQ(tokenizer.id_of("abc"), 4);
  EXPECT_EQ(tokenizer.id_of("x"), std::nullopt);
  EXPECT_EQ(tokenizer.token_of(3), "ab");
  EXPECT_THROW(tokenizer.token_of(6), Error);
}

TEST(TokenizerEncode, IgnoreMerges) {
  auto json = small_tokenizer();
  json["model"]["merges"] = nlohmann::json::array();
  EXPECT_EQ(make_tokenizer(json).encode("abc"), (Ids{0, 1, 2}));
  json["model"]["ignore_merges"] = true;
  EXPECT_EQ(make_tokenizer(json).encode("abc"), (Ids{4}));
}

TEST(TokenizerEncode, UnknownTokensAndBytes) {
  auto json = small_tokenizer();
  json["model"]["vocab"] = {{"a", 0},     {"b", 1},      {"ab", 2},
                            {"<unk>", 3}, {"<0xC3>", 4}, {"<0xA9>", 5}};
  json["model"]["merges"] = {"a b"};
  json["model"]["unk_token"] = "<unk>";
  json["model"]["byte_fallback"] = true;
  const Tokenizer plain = make_tokenizer(json);
  EXPECT_EQ(plain.encode("x\xC3\xA9ya"), (Ids{4, 5, 3, 3, 0}));
  EXPECT_EQ(plain.encode("xx\xC3\xA9"
                         "ab"),
            (Ids{3, 4, 5, 3, 2}));
  json["model"]["fuse_unk"] = true;
  const Tokenizer fused = make_tokenizer(json);
  EXPECT_EQ(fused.encode("x\xC3\xA9ya"), (Ids{4, 5, 3, 0}));
  EXPECT_EQ(fused.encode("\xC3\xA9yyy\xC3\xA9"), (Ids{4, 5, 4, 5, 3}));
  json["model"]["unk_token"] = "<none>";
  const Tokenizer missing = make_tokenizer(json);
  EXPECT_EQ(missing.encode("ab"), (Ids{2}));
  EXPECT_THROW(missing.encode("z"), Error);
}

std::vector<std::string> gpt2_words(std::string_view text) {
  std::vector<std::string> out;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = gpt2_word_end(text, at);
    out.emplace_back(text.substr(at, end - at));
    at = end;
  }
  return out;
}

TEST(TokenizerEncode, Gpt2Words) {
  using Strings = std::vector<std::string>;
  EXPECT_EQ(gpt2_words("Hello  world 12ab!?"),
            (Strings{"Hello", " ", " world", " 12", "ab", "!?"}));
  EXPECT_EQ(gpt2_words("I'll 'S 's!'s"), (Strings{"I", "'ll", " '", "S", " '", "s", "!'", "s"}));
  EXPECT_EQ(gpt2_words("'d'"), (Strings{"'d", "'"}));
  EXPECT_EQ(gpt2_words("a\n\n b \n"), (Strings{"a", "\n\n", " b", " \n"}));
  EXPECT_EQ(gpt2_words("a\nb"), (Strings{"a", "\n", "b"}));
  EXPECT_EQ(gpt2_words(" \xC2\xA0x"), (Strings{" ", "\xC2\xA0", "x"}));
  EXPECT_EQ(gpt2_words("\xC2\xBD\xE2\x85\xA7z"), (Strings{"\xC2\xBD\xE2\x85\xA7", "z"}));
}

TEST(TokenizerEncode, ByteLevelAlphabet) {
  for (int byte = 0; byte < 256; ++byte) {
    const char32_t c = char_of_byte(static_cast<unsigned char>(byte));
    EXPECT_EQ(byte_of_char(c), byte);
    EXPECT_GT(c, 0x20u);
  }
  EXPECT_EQ(byte_of_char(U' '), -1);
  EXPECT_EQ(byte_of_char(0x20AC), -1);
  std::string out;
  append_byte_level(out, " a\n");
  EXPECT_EQ(out,
            "\xC4\xA0"
            "a\xC4\x8A");
}

/// The words become visible as runs of the model's characters between separator ids.
Ids words_of(const nlohmann::json& pre_tokenizer, const std::string& text) {
  auto json = small_tokenizer();
  json["pre_tokenizer"] = pre_tokenizer;
  return make_tokenizer(json).encode(text);
}

TEST(TokenizerEncode, SplitAndDigits) {
  const auto split = [](const char* behavior, bool invert) {
    return nlohmann::json{{"type", "Split"},
                          {"pattern", {{"String", "b"}}},
                          {"behavior", behavior},
                          {"invert", invert}};
  };
  EXPECT_EQ(words_of(split("Isolated", false), "abcab"), (Ids{0, 1, 2, 0, 1}));
  EXPECT_EQ(words_of(split("Removed", false), "abcab"), (Ids{0, 2, 0}));
  EXPECT_EQ(words_of(split("Removed", true), "abcab"), (Ids{1, 1}));
  EXPECT_EQ(words_of(split("MergedWithPrevious", false), "abcab"), (Ids{3, 2, 3}));
  EXPECT_EQ(words_of(split("MergedWithNext", false), "abcab"), (Ids{0, 1, 2, 0, 1}));
  EXPECT_EQ(words_of(split("Contiguous", false), "bbab"), (Ids{1, 1, 0, 1}));
  auto json = small_tokenizer();
  json["model"]["vocab"] = {{"1", 0}, {"a", 1}, {"11", 2}, {"1a", 3}};
  json["model"]["merges"] = {"1 1", "1 a"};
  json["pre_tokenizer"] = {{"type", "Digits"}, {"individual_digits", false}};
  EXPECT_EQ(make_tokenizer(json).encode("11a1a"), (Ids{2, 1, 0, 1}));
  json["pre_tokenizer"]["individual_digits"] = true;
  EXPECT_EQ(make_tokenizer(json).encode("11a1a"), (Ids{0, 0, 1, 0, 1}));
}

TEST(TokenizerEncode, AddedTokenFlags) {
  auto json = small_tokenizer();
  const auto encode = [&](const nlohmann::json& token, const std::string& text) {
    json["added_tokens"] = nlohmann::json::array({token});
    return make_tokenizer(json).encode(text);
  };
  auto token = added_token("<x>");
  EXPECT_EQ(encode(token, "a <x><x> b"), (Ids{0, 5, 6, 6, 5, 1}));
  token["lstrip"] = true;
  EXPECT_EQ(encode(token, "a  <x> b"), (Ids{0, 6, 5, 1}));
  token["rstrip"] = true;
  EXPECT_EQ(encode(token, "a  <x> \xE3\x80\x80 b"), (Ids{0, 6, 1}));
  token = added_token("ab");  // a token of the model keeps its number
  token["single_word"] = true;
  EXPECT_EQ(encode(token, "abc ab"), (Ids{4, 5, 3}));
  EXPECT_EQ(encode(added_token("ab"), "abc ab"), (Ids{3, 2, 5, 3}));
}

TEST(TokenizerEncode, AddedTokensTheLongestWinsAndIdsFollowTheOrder) {
  auto json = small_tokenizer();
  json["added_tokens"] = {added_token("<x>"), added_token("<x>>", true), added_token("<y>")};
  json["added_tokens"][0]["id"] = 100;  // Hugging Face's library doesn't look at it either
  const Tokenizer tokenizer = make_tokenizer(json);
  EXPECT_EQ(tokenizer.encode("<x>><x><y>"), (Ids{7, 6, 8}));
  EXPECT_EQ(tokenizer.vocab_size(), 9);
  EXPECT_TRUE(tokenizer.is_special(7));
  EXPECT_FALSE(tokenizer.is_special(6));
  EXPECT_FALSE(tokenizer.is_special(100));
}

TEST(TokenizerEncode, NormalizedAddedTokens) {
  auto json = small_tokenizer();
  json["normalizer"] = {{"type", "Prepend"}, {"prepend", " "}};
  json["added_tokens"] = nlohmann::json::array({added_token("<x>", true)});
  EXPECT_EQ(make_tokenizer(json).encode("a<x>b"), (Ids{5, 0, 6, 5, 1}));
  json["added_tokens"][0]["normalized"] = true;  // then it is " <x>" that is looked for
  const Tokenizer tokenizer = make_tokenizer(json);
  EXPECT_EQ(tokenizer.encode("a<x>b"), (Ids{5, 3}));  // the characters < x > are unknown
  EXPECT_EQ(tokenizer.encode("a <x>b"), (Ids{5, 0, 6, 1}));
  EXPECT_EQ(tokenizer.encode("<x>b"), (Ids{6, 1}));
  EXPECT_EQ(tokenizer.token_of(6), "<x>");
  EXPECT_EQ(tokenizer.decode(Ids{0, 6}, false), "a <x>");
  EXPECT_EQ(tokenizer.decode(Ids{0, 6}, true), "a");
}

TEST(TokenizerEncode, Template) {
  auto json = small_tokenizer();
  json["added_tokens"] = {added_token("<s>", true), added_token("</s>", true)};
  json["post_processor"] = nlohmann::json::parse(R"({"type": "Sequence", "processors": [
    {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false},
    {"type": "TemplateProcessing",
     "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": "</s>", "type_id": 0}}],
     "special_tokens": {"<s>": {"id": "<s>", "ids": [6], "tokens": ["<s>"]},
                        "</s>": {"id": "</s>", "ids": [7, 7], "tokens": ["</s>", "</s>"]}}}]})");
  const Tokenizer tokenizer = make_tokenizer(json);
  EXPECT_EQ(tokenizer.encode("ab"), (Ids{6, 3, 7, 7}));
  EXPECT_EQ(tokenizer.encode("ab", false), (Ids{3}));
  EXPECT_EQ(tokenizer.encode("<s>", false), (Ids{6}));
}

TEST(TokenizerEncode, LongWordsAgreeWithMergingByHand) {
  // A word beyond every threshold, with and without places where no merge can reach across.
  nlohmann::json vocab = {{"a", 0},  {"b", 1},    {" ", 2}, {"aa", 3},
                          {"ab", 4}, {"aaab", 5}, {" a", 6}};
  auto json = small_tokenizer();
  json["model"]["vocab"] = vocab;
  json["model"]["merges"] = {"a a", "a b", "aa ab", "  a"};
  json["model"]["merges"][3] = {" ", "a"};
  const Tokenizer tokenizer = make_tokenizer(json);
  const auto by_hand = [&](const std::string& text) {
    std::vector<std::string> parts;
    for (const char c : text) parts.emplace_back(1, c);
    for (const auto& [l, r] : std::initializer_list<std::pair<std::string, std::string>>{
             {"a", "a"}, {"a", "b"}, {"aa", "ab"}, {" ", "a"}}) {
      std::vector<std::string> next;
      for (std::size_t i = 0; i < parts.size(); ++i) {
        const bool merge = i + 1 < parts.size() && parts[i] == l && parts[i + 1] == r;
        next.push_back(merge ? l + r : parts[i]);
        i += merge;
      }
      parts = next;
    }
    Ids out;
    for (const std::string& part : parts) out.push_back(vocab[part].get<std::int32_t>());
    return out;
  };
  std::uint32_t state = 1;
  for (const std::size_t size : {3u, 60u, 129u, 200u, 5000u}) {
    std::string text;
    while (text.size() < size) {
      state = state * 1664525 + 1013904223;
      text += size == 200 ? 'a' : "aaab a"[(state >> 16) % 6];
    }
    EXPECT_EQ(tokenizer.encode(text), by_hand(text)) << size;
  }
}

TEST(TokenizerEncode, NothingCrashesOnHardTexts) {
  for (const char* name : {"tokenizers/gpt2", "tokenizers/llama2", "models/stories260K"}) {
    if (!fs::exists(test_data() / name)) GTEST_SKIP() << "no " << test_data() / name;
    const Tokenizer tokenizer = Tokenizer::load(test_data() / name);
    for (const std::string& text : hard_texts()) {
      for (const std::int32_t id : tokenizer.encode(text)) EXPECT_LT(id, tokenizer.vocab_size());
    }
  }
}

}  // namespace
}  // namespace moebius
