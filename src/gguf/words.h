// How llama.cpp cuts words before byte-level merges: names of its own for whole pre-tokenizers.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"

namespace moebius {

/// A way to cut words, under the name that llama.cpp has for it.
struct WordCut {
  std::string_view name;
  bool ignores_merges = false;  ///< a word that is a token is that token
  bool adds_bos = false;        ///< unless the file says otherwise
};

/// What a tokenizer.json's "pre_tokenizer" (null if absent) is called; nothing if it has no name.
std::optional<WordCut> word_cut_of(const Json& pre_tokenizer);
/// The same by name, aliases included.
std::optional<WordCut> word_cut_named(std::string_view name);
/// The "pre_tokenizer" of a way to cut words.
Json pre_tokenizer_of(const WordCut& cut);

}  // namespace moebius
