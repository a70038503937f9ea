// Metaspace: spaces of a text are replaced by a visible character, as SentencePiece does. Options
// of the pre-tokenizer that inserts it and of the decoder that removes it.
#pragma once

#include <string>

#include "base/json.h"

namespace moebius {

struct Metaspace {
  /// Which words get one in front: none, the one at the start of the text, or each.
  enum class Scheme { never, first, always };

  explicit Metaspace(const JsonView& part);
  std::string replacement;  // one character
  Scheme scheme;
};

}  // namespace moebius
