#include "infer/text/text_stream.h"

namespace moebius {

TextStream::TextStream(const Tokenizer& tokenizer, std::span<const std::int32_t> prompt,
                       std::vector<std::string> stop)
    : tokenizer_(tokenizer), decoder_(tokenizer, prompt), filter_(std::move(stop)) {}

std::string TextStream::push(const NewToken& token) {
  if (token.finish == FinishReason::failed) return finish(FinishReason::failed);
  ++new_tokens_;
  if (token.finish == FinishReason::stop) return finish(FinishReason::stop);
  std::string text;
  // The embedding may have rows without a token.
  if (tokenizer_.contains(token.id)) text = filter_.push(decoder_.push(token.id));
  if (filter_.stopped()) return text + finish(FinishReason::stop);
  if (token.finish == FinishReason::length) return text + finish(FinishReason::length);
  return text;
}

std::string TextStream::finish(FinishReason reason) {
  finish_ = reason;
  const std::string text = filter_.push(decoder_.finish());
  return text + filter_.finish();
}

}  // namespace moebius
