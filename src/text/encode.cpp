// Encoding: applies the parts of a tokenizer to a text in order.
#include <optional>

#include "base/error.h"
#include "base/utf8.h"
#include "text/tokenizer_impl.h"

namespace moebius {
namespace {

/// Converts byte offsets of a text to character offsets.
class CharacterIndex {
 public:
  explicit CharacterIndex(std::string_view text) {
    before_.reserve(text.size() + 1);
    std::uint32_t count = 0;
    for (const char byte : text) {
      if ((byte & 0xC0) != 0x80) ++count;
      before_.push_back(count - 1);
    }
    before_.push_back(count);
  }
  CharacterRange range(ByteRange bytes) const { return {before_[bytes.begin], before_[bytes.end]}; }

 private:
  std::vector<std::uint32_t> before_;
};

/// State of one call of encode.
class EncodeRun {
 public:
  EncodeRun(const Tokenizer::Impl& tokenizer, std::string_view text, bool with_offsets)
      : tokenizer_(tokenizer), encoder_(tokenizer.model->encoder()) {
    tokens_.with_offsets = with_offsets;
    // A normaliser may strip the start of the text, so origins tell whether a word is the first.
    const bool needs_origins = tokenizer.normalizer != nullptr && tokenizer.pre_tokenizer &&
                               tokenizer.pre_tokenizer->reads_origins();
    if (with_offsets || needs_origins) origins_ = identity_origins(text);
    if (with_offsets) characters_.emplace(text);
    text_ = {text, origins_.empty() ? nullptr : origins_.data(), true};
  }

  Tokens run() {
    tokenizer_.added.split_raw(text_, [&](std::int32_t id, AlignedView part) {
      if (id >= 0) return add_token(id, part);
      if (!tokenizer_.normalizer) return add_normalized(part);
      AlignedText normalized(part, part.first_origin().begin);
      tokenizer_.normalizer->apply(normalized);
      add_normalized(normalized.view());
    });
    return std::move(tokens_);
  }

 private:
  void add_normalized(AlignedView text) {
    tokenizer_.added.split_normalized(text, [&](std::int32_t id, AlignedView part) {
      if (id >= 0) return add_token(id, part);
      if (!tokenizer_.pre_tokenizer) return add_word(part);
      words_.clear();
      tokenizer_.pre_tokenizer->split(part, words_);
      for (std::size_t i = 0; i < words_.size(); ++i) add_word(words_[i]);
    });
  }

  void add_word(AlignedView word) {
    pieces_.clear();
    encoder_->encode(word.text, pieces_);
    for (const TokenPiece& piece : pieces_) {
      tokens_.ids.push_back(piece.id);
      if (!tokens_.with_offsets) continue;
      tokens_.offsets.push_back(range_of(word, piece));
      tokens_.texts.push_back(*tokenizer_.model->vocabulary().token_of(piece.id));
    }
  }

  void add_token(std::int32_t id, AlignedView part) {
    tokens_.ids.push_back(id);
    if (!tokens_.with_offsets) return;
    const TokenPiece whole{id, 0, static_cast<std::uint32_t>(part.size())};
    tokens_.offsets.push_back(range_of(part, whole));
    tokens_.texts.emplace_back(part.text);
  }

  CharacterRange range_of(AlignedView word, const TokenPiece& piece) const {
    const auto size = static_cast<std::uint32_t>(word.size());
    const std::uint32_t begin = std::min(piece.begin, size), end = std::min(piece.end, size);
    if (begin < end) {
      return characters_->range({word.origins[begin].begin, word.origins[end - 1].end});
    }
    // An empty piece: the last piece of its character covers the whole character.
    const std::uint32_t at = begin < size ? word.origins[begin].begin : word.origins[size - 1].end;
    return characters_->range({at, at});
  }

  const Tokenizer::Impl& tokenizer_;
  std::unique_ptr<WordEncoder> encoder_;
  std::vector<ByteRange> origins_;
  std::optional<CharacterIndex> characters_;
  AlignedView text_;
  Words words_;
  std::vector<TokenPiece> pieces_;
  Tokens tokens_;
};

}  // namespace

Tokens Tokenizer::Impl::encode(std::string_view utf8_text, bool add_special,
                               bool with_offsets) const {
  check_utf8(utf8_text, "the text to tokenize");
  Tokens tokens = EncodeRun(*this, utf8_text, with_offsets).run();
  if (post_processor) post_processor->apply(tokens, add_special);
  return tokens;
}

}  // namespace moebius
