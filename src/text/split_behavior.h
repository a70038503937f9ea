// Splitting at delimiters, with the five behaviours of Hugging Face's library.
#pragma once

#include <functional>
#include <vector>

#include "base/json.h"
#include "text/pre_tokenizer.h"

namespace moebius {

/// Treatment of a delimiter.
enum class Behavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };

/// Reads the behaviour under `key`, as in "MergedWithNext".
Behavior behavior_of(const JsonView& part, std::string_view key);

/// A part of a word that is a delimiter (`match`) or lies between two.
struct Span {
  std::size_t begin, end;
  bool match;
};

/// Splits `word` into the parts `spans`, which cover it, and appends the resulting words to `out`.
void emit(AlignedView word, const std::vector<Span>& spans, Behavior behavior, Words& out);

/// Splits at every character for which `is_delimiter` is true.
void split_at(AlignedView word, const std::function<bool(char32_t)>& is_delimiter,
              Behavior behavior, Words& out);

}  // namespace moebius
