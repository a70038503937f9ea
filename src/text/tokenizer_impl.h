// What a Tokenizer shares among its copies.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "text/added_tokens.h"
#include "text/bpe_model.h"
#include "text/decoder.h"
#include "text/normalizer.h"
#include "text/post_processor.h"
#include "text/pre_tokenizer.h"
#include "text/tokenizer.h"

namespace moebius {

struct Tokenizer::Impl {
  /// `file` is the whole document without the model's vocabulary and merges, which come apart.
  Impl(const JsonView& file, const nlohmann::json& vocab, const nlohmann::json& merges);

  std::unique_ptr<const Normalizer> normalizer;
  std::unique_ptr<const PreTokenizer> pre_tokenizer;
  BpeModel model;
  AddedTokens added;
  std::unique_ptr<const PostProcessor> post_processor;
  Decoder decoder;
  std::int32_t vocab_size = 0;

  /// Null if no token has this number.
  const std::string* find(std::int32_t id) const;
  /// Throws Error if there is none.
  const std::string& token_of(std::int32_t id) const;
  /// Hands a token to a decoder. Throws Error if there is none.
  void feed(DecoderRun& run, std::int32_t id, bool skip_special) const;
};

}  // namespace moebius
