// The part of a tokenizer that turns words into tokens.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "text/vocabulary.h"

namespace moebius {

/// A token and the bytes of its word that it stands for.
struct Piece {
  std::int32_t id;
  std::uint32_t begin, end;
};

/// Holds the working memory of one call of encode.
class WordEncoder {
 public:
  virtual ~WordEncoder() = default;
  /// Appends the tokens of `word`.
  virtual void encode(std::string_view word, std::vector<Piece>& out) = 0;
};

/// Immutable; any number of encoders may use it at once. It must outlive them.
class Model {
 public:
  virtual ~Model() = default;
  virtual const Vocabulary& vocabulary() const = 0;
  virtual std::unique_ptr<WordEncoder> encoder() const = 0;
};

}  // namespace moebius
