// Models of tokenizers: the part that encodes words as tokens.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "text/vocabulary.h"

namespace moebius {

/// A token and the range [begin, end) of bytes of its word that it covers.
struct TokenPiece {
  std::int32_t id;
  std::uint32_t begin, end;
};

/// Encodes the words of one text; holds the scratch memory of that.
class WordEncoder {
 public:
  virtual ~WordEncoder() = default;
  /// Appends the tokens of `word`.
  virtual void encode(std::string_view word, std::vector<TokenPiece>& out) = 0;
};

/// Immutable; any number of encoders may use it at once. It must outlive them.
class TokenizerModel {
 public:
  virtual ~TokenizerModel() = default;
  virtual const Vocabulary& vocabulary() const = 0;
  virtual std::unique_ptr<WordEncoder> encoder() const = 0;
};

}  // namespace moebius
