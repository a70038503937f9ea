// A tokenizer of letters: a is 0, b is 1, ... of 16.
#pragma once

#include <fmt/format.h>

#include "text/tokenizer.h"

namespace moebius::support {

inline Tokenizer letter_tokenizer() {
  std::string vocab;
  for (int i = 0; i < 16; ++i) {
    vocab += fmt::format("{}\"{}\": {}", i > 0 ? ", " : "", static_cast<char>('a' + i), i);
  }
  return Tokenizer::parse(
      R"({"version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
          "normalizer": null, "pre_tokenizer": null, "post_processor": null,
          "decoder": {"type": "Fuse"}, "model": {"type": "BPE", "merges": [], "vocab": {)" +
          vocab + "}}}",
      "letters");
}

}  // namespace moebius::support
