#include "infer/text/text_stream.h"

#include <gtest/gtest.h>

#include "infer/letter_tokenizer.h"
#include "infer/text/token_log_probs.h"

namespace moebius {
namespace {

/// Ids 0 to 2 are the bytes of a euro sign, 3 is "a", 4 is "END", 5 is missing, 6 is special.
Tokenizer euro_tokenizer() {
  return Tokenizer::parse(
      R"({"version": "1.0", "truncation": null, "padding": null,
          "added_tokens": [{"id": 6, "content": "<s>", "single_word": false, "lstrip": false,
                            "rstrip": false, "normalized": false, "special": true}],
          "normalizer": null, "pre_tokenizer": null, "post_processor": null,
          "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]},
          "model": {"type": "BPE", "merges": [], "vocab":
                    {"<0xE2>": 0, "<0x82>": 1, "<0xAC>": 2, "a": 3, "END": 4, "<s>": 6}}})",
      "euro");
}

NewToken token(std::int32_t id, FinishReason finish = FinishReason::none) {
  return {.id = id, .finish = finish};
}

TEST(TextStream, HoldsBackAnIncompleteCharacter) {
  TextStream stream(euro_tokenizer(), std::vector<std::int32_t>{6}, {});
  EXPECT_EQ(stream.push(token(0)), "");
  EXPECT_EQ(stream.push(token(1)), "");
  EXPECT_EQ(stream.push(token(2)), "€");
  EXPECT_EQ(stream.push(token(6)), "");  // special
  EXPECT_EQ(stream.push(token(5)), "");  // a row of the embedding without a token
  EXPECT_EQ(stream.push(token(3)), "a");
  EXPECT_FALSE(stream.finished());
  EXPECT_EQ(stream.push(token(0, FinishReason::length)), "�");
  EXPECT_EQ(stream.finish_reason(), FinishReason::length);
  EXPECT_EQ(stream.new_tokens(), 7);
}

TEST(TextStream, EndsBeforeAStopStringAndAtAStopToken) {
  TextStream by_string(euro_tokenizer(), std::vector<std::int32_t>{3}, {"aEN"});
  EXPECT_EQ(by_string.push(token(3)), "");  // may begin the stop string
  EXPECT_EQ(by_string.push(token(3)), "a");
  EXPECT_EQ(by_string.push(token(4)), "");
  EXPECT_EQ(by_string.finish_reason(), FinishReason::stop);
  TextStream by_token(euro_tokenizer(), std::vector<std::int32_t>{3}, {"ab"});
  EXPECT_EQ(by_token.push(token(3)), "");
  EXPECT_EQ(by_token.push(token(3, FinishReason::stop)), "a");  // held back; the token has no text
  EXPECT_EQ(by_token.finish_reason(), FinishReason::stop);
}

TEST(TextStream, ACancelledOrFailedRequestGivesWhatWasHeldBack) {
  TextStream cancelled(euro_tokenizer(), std::vector<std::int32_t>{3}, {"ab"});
  EXPECT_EQ(cancelled.push(token(3)), "");
  EXPECT_EQ(cancelled.finish(FinishReason::stop), "a");
  EXPECT_TRUE(cancelled.finished());
  TextStream failed(euro_tokenizer(), std::vector<std::int32_t>{3}, {"ab"});
  failed.push(token(3));
  EXPECT_EQ(failed.push(token(0, FinishReason::failed)), "a");
  EXPECT_EQ(name_of(failed.finish_reason()), "error");
  EXPECT_EQ(failed.new_tokens(), 1);
}

TEST(TokenLogProbRecorder, CountsCodePointsAndNamesBytes) {
  TokenLogProbRecorder recorder(euro_tokenizer(), 6);
  recorder.push({.id = 0, .log_prob = -1, .top = {{3, -0.5}}});
  recorder.push({.id = 1, .log_prob = -2, .top = {{1, -2}, {5, -3}}});
  recorder.push({.id = 2});
  recorder.push({.id = 3});
  recorder.push({.id = 6, .finish = FinishReason::stop});
  const TokenLogProbs out = recorder.take();
  EXPECT_EQ(out.tokens,
            (std::vector<std::string>{"bytes:\\xe2", "bytes:\\x82", "bytes:\\xac", "a", "<s>"}));
  EXPECT_EQ(out.text_offset, (std::vector<std::int64_t>{0, 0, 0, 1, 2}));
  EXPECT_EQ(out.token_logprobs, (std::vector<double>{-1, -2, 0, 0, 0}));
  using Top = std::vector<std::pair<std::string, double>>;
  EXPECT_EQ(out.top_logprobs[0], (Top{{"a", -0.5}, {"bytes:\\xe2", -1}}));
  EXPECT_EQ(out.top_logprobs[1], (Top{{"bytes:\\x82", -2}, {"", -3}}));
}

TEST(TokenBytes, DependOnTheTokenBefore) {
  const Tokenizer tokenizer = Tokenizer::parse(
      R"({"version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
          "normalizer": null, "post_processor": null,
          "pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": true},
          "decoder": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": true},
          "model": {"type": "BPE", "merges": [], "vocab": {"\u2581a": 0, "b": 1}}})",
      "metaspace");
  EXPECT_EQ(token_bytes(tokenizer, 1, 0), " a");
  EXPECT_EQ(token_bytes(tokenizer, 0, 1), "b");
}

}  // namespace
}  // namespace moebius
