// The tokens of a text between the model and the post-processor.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace moebius {

struct Tokens {
  std::vector<std::int32_t> ids;
  /// One per id if `with_offsets`, otherwise empty; so is `texts`.
  std::vector<CharacterRange> offsets;
  /// Text of each token: its spelling in the vocabulary, or the text that an added token matched.
  std::vector<std::string> texts;
  bool with_offsets = false;
};

}  // namespace moebius
