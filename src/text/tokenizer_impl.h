// The parts of a Tokenizer, which its copies share.
#pragma once

#include "text/added_tokens.h"
#include "text/decoder.h"
#include "text/normalizer.h"
#include "text/post_processor.h"
#include "text/pre_tokenizer.h"
#include "text/tokenizer.h"
#include "text/tokenizer_document.h"
#include "text/tokenizer_model.h"

namespace moebius {

struct Tokenizer::Impl {
  explicit Impl(TokenizerDocument document);

  std::unique_ptr<const Normalizer> normalizer;
  std::unique_ptr<const PreTokenizer> pre_tokenizer;
  std::unique_ptr<const TokenizerModel> model;
  AddedTokens added;
  std::unique_ptr<const PostProcessor> post_processor;
  Decoder decoder;
  std::int32_t vocab_size = 0, base_vocab_size = 0;

  Tokens encode(std::string_view utf8_text, bool add_special, bool with_offsets) const;
  /// Null if no token has this id.
  const std::string* find(std::int32_t id) const;
  /// Throws Error if there is none.
  const std::string& token_of(std::int32_t id) const;
  /// Pushes the token of an id to a decoder run. Throws Error if there is none.
  void feed(DecoderRun& run, std::int32_t id, bool skip_special) const;
};

}  // namespace moebius
