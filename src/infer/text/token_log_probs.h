// Log-probabilities of new tokens beside their texts, in the form of OpenAI's completions.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "infer/engine/request.h"
#include "text/tokenizer.h"

namespace moebius {

/// One entry per new token in every list.
struct TokenLogProbs {
  std::vector<std::string> tokens;
  std::vector<double> token_logprobs;
  /// The most probable tokens in descending order, and the chosen one where it is not among them.
  std::vector<std::vector<std::pair<std::string, double>>> top_logprobs;
  std::vector<std::int64_t> text_offset;  ///< code points of the new text before the token
};

/// The bytes that `id` adds to a text after token `previous`; the name of a special token.
std::string token_bytes(const Tokenizer& tokenizer, std::int32_t previous, std::int32_t id);

/// Collects the log-probabilities of one request.
class TokenLogProbRecorder {
 public:
  /// `last_of_prompt` is the token before the first new one.
  TokenLogProbRecorder(const Tokenizer& tokenizer, std::int32_t last_of_prompt)
      : tokenizer_(tokenizer), previous_(last_of_prompt) {}

  void push(const NewToken& token);
  TokenLogProbs take() { return std::move(out_); }

 private:
  std::string text_of(std::int32_t id) const;

  Tokenizer tokenizer_;
  std::int32_t previous_;
  std::string pending_;  ///< an incomplete character
  std::int64_t offset_ = 0;
  TokenLogProbs out_;
};

}  // namespace moebius
