// The pre-tokenizers of byte-level BPE under the names that llama.cpp gives them.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"

namespace moebius {

/// A pre-tokenizer under llama.cpp's name, and the options of the model that the name implies.
struct NamedPreTokenizer {
  std::string_view name;
  bool ignores_merges = false;  ///< a word that is a token is not merged
  bool adds_bos = false;        ///< unless the file says otherwise
};

/// The name of a tokenizer.json's "pre_tokenizer" (null if absent); nothing if it has none.
std::optional<NamedPreTokenizer> find_pre_tokenizer(const Json& pre_tokenizer);
/// The entry with this name or alias.
std::optional<NamedPreTokenizer> pre_tokenizer_named(std::string_view name);
/// The "pre_tokenizer" of a tokenizer.json for `pre`.
Json pre_tokenizer_of(const NamedPreTokenizer& pre);

}  // namespace moebius
