// The tokens of a text as they leave the model, and what the post-processor makes of them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace moebius {

struct Tokens {
  std::vector<std::int32_t> ids;
  /// Only where offsets are asked for; else these two stay empty.
  std::vector<Range> offsets;
  /// What each token looks like: the model's spelling, or the text that an added token matched.
  std::vector<std::string> texts;
  bool with_offsets = false;
};

}  // namespace moebius
