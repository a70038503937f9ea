// SentencePiece's visible space, which a pre-tokenizer puts in and a decoder takes out.
#pragma once

#include <string>

#include "base/json.h"

namespace moebius {

struct Metaspace {
  /// Whether a word gets one more in front: never, the one the text begins with, or each.
  enum class Scheme { never, first, always };

  explicit Metaspace(const JsonView& part);
  std::string replacement;  // one character
  Scheme scheme;
};

}  // namespace moebius
