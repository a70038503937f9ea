#include "infer/text/token_log_probs.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/utf8.h"

namespace moebius {
namespace {

/// UTF-8 as it is; other bytes as OpenAI's API writes them: "bytes:\xe2\x82".
std::string printable(const std::string& bytes) {
  if (find_invalid_utf8(bytes) == npos) return bytes;
  std::string out = "bytes:";
  for (const char byte : bytes) out += fmt::format("\\x{:02x}", static_cast<unsigned char>(byte));
  return out;
}

}  // namespace

std::string token_bytes(const Tokenizer& tokenizer, std::int32_t previous, std::int32_t id) {
  if (!tokenizer.contains(id)) return {};
  const std::array ids{previous, id};
  if (tokenizer.is_special(id) || !tokenizer.contains(previous)) {
    return tokenizer.decode(std::span(ids).last(1), /*skip_special=*/false);
  }
  // Decoders treat the first token of a text in its own way, such as without its leading space.
  const std::string before = tokenizer.decode(std::span(ids).first(1), /*skip_special=*/false);
  const std::string both = tokenizer.decode(ids, /*skip_special=*/false);
  if (both.starts_with(before)) return both.substr(before.size());
  return tokenizer.decode(std::span(ids).last(1), /*skip_special=*/false);
}

std::string TokenLogProbRecorder::text_of(std::int32_t id) const {
  return printable(token_bytes(tokenizer_, previous_, id));
}

void TokenLogProbRecorder::push(const NewToken& token) {
  if (token.finish == FinishReason::failed) return;
  out_.tokens.push_back(text_of(token.id));
  out_.token_logprobs.push_back(token.log_prob);
  out_.text_offset.push_back(offset_);
  auto& top = out_.top_logprobs.emplace_back();
  bool has_chosen = false;
  for (const TokenLogProb& each : token.top) {
    top.emplace_back(text_of(each.id), each.log_prob);
    has_chosen = has_chosen || each.id == token.id;
  }
  if (!has_chosen) top.emplace_back(out_.tokens.back(), token.log_prob);
  if (token.finish != FinishReason::stop && !tokenizer_.is_special(token.id)) {
    pending_ += token_bytes(tokenizer_, previous_, token.id);
    const std::size_t whole = complete_utf8_prefix(pending_);
    const std::string text = replace_invalid_utf8(std::string_view(pending_).substr(0, whole));
    for (std::size_t at = 0; at < text.size(); ++offset_) next_code_point(text, at);
    pending_.erase(0, whole);
  }
  previous_ = token.id;
}

}  // namespace moebius
