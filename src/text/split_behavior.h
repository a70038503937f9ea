// Splitting at delimiters, which Hugging Face's library does in five ways.
#pragma once

#include <functional>
#include <vector>

#include "base/json.h"
#include "text/pre_tokenizer.h"

namespace moebius {

/// What becomes of a delimiter.
enum class Behavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };

/// Reads the behaviour under `key`, as in "MergedWithNext".
Behavior behavior_of(const JsonView& part, std::string_view key);

/// A stretch of a word that is a delimiter or lies between two.
struct Span {
  std::size_t begin, end;
  bool match;
};

/// Appends the words that `spans`, which cover `word`, make of it.
void emit(AlignedView word, const std::vector<Span>& spans, Behavior behavior, Words& out);

/// Splits where each character that `is_delimiter` holds of is a delimiter.
void split_at(AlignedView word, const std::function<bool(char32_t)>& is_delimiter,
              Behavior behavior, Words& out);

}  // namespace moebius
