// The text of one request as its tokens arrive.
#pragma once

#include <string>

#include "infer/engine/request.h"
#include "infer/text/stop_filter.h"
#include "text/tokenizer.h"

namespace moebius {

/// Turns the new tokens of one request into printable text. Holds back incomplete characters
/// (UTF-8) and what may be the beginning of a stop string. Special tokens give no text.
class TextStream {
 public:
  /// `prompt` are the tokens before the first new one. Neither has to outlive this.
  TextStream(const Tokenizer& tokenizer, std::span<const std::int32_t> prompt,
             std::vector<std::string> stop);

  /// The text that is printable now: whole characters, up to a stop string. The last token releases
  /// what was held back. Nothing may be pushed once `finished`; the engine does not know of stop
  /// strings, so the request has to be cancelled then.
  std::string push(const NewToken& token);
  /// Ends the text of a request that was cancelled and returns what was held back.
  std::string finish(FinishReason reason);

  bool finished() const { return finish_ != FinishReason::none; }
  FinishReason finish_reason() const { return finish_; }
  std::int64_t new_tokens() const { return new_tokens_; }

 private:
  Tokenizer tokenizer_;
  StreamDecoder decoder_;
  StopFilter filter_;
  FinishReason finish_ = FinishReason::none;
  std::int64_t new_tokens_ = 0;
};

}  // namespace moebius
