// Streaming: a decoder run (decoder.h) that holds incomplete characters back.
#include "base/utf8.h"
#include "text/tokenizer_impl.h"

namespace moebius {

struct StreamDecoder::State {
  std::shared_ptr<const Tokenizer::Impl> tokenizer;
  DecoderRun run;
  std::string pending;  // at most three bytes: the start of an incomplete character
};

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, std::span<const std::int32_t> prompt_ids)
    : state_(new State{tokenizer.impl_, tokenizer.impl_->decoder.start(), {}}) {
  for (const std::int32_t id : prompt_ids) tokenizer.impl_->feed(state_->run, id, true);
  state_->run.take();
}

StreamDecoder::~StreamDecoder() = default;
StreamDecoder::StreamDecoder(StreamDecoder&&) noexcept = default;
StreamDecoder& StreamDecoder::operator=(StreamDecoder&&) noexcept = default;

std::string StreamDecoder::push(std::int32_t id) {
  state_->tokenizer->feed(state_->run, id, true);
  std::string& pending = state_->pending;
  pending += state_->run.take();
  const std::size_t whole = complete_utf8_prefix(pending);
  std::string out = replace_invalid_utf8(std::string_view(pending).substr(0, whole));
  pending.erase(0, whole);
  return out;
}

std::string StreamDecoder::finish() {
  state_->run.finish();
  return replace_invalid_utf8(std::exchange(state_->pending, {}) + state_->run.take());
}

}  // namespace moebius
