// The patterns of a tokenizer.json: a literal string or a regular expression.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/json.h"

namespace moebius {

/// Immutable after construction; any number of threads may use one at once.
class Pattern {
 public:
  /// Reads `{"String": ...}` or `{"Regex": ...}` under `key`.
  static Pattern load(const JsonView& part, std::string_view key = "pattern");
  static Pattern literal(std::string text);
  /// `where` names the pattern's place in errors.
  static Pattern regex(std::string_view expression, const std::string& where);

  /// Calls `match(begin, end)` for every match from left to right. `text` must be well-formed
  /// UTF-8. An empty match directly after another match is skipped. Throws Error naming file and
  /// expression if the search for a match takes too many steps.
  void each_match(std::string_view text,
                  const std::function<void(std::size_t, std::size_t)>& match) const;
  /// Copy with each match replaced by `content`, taken literally.
  std::string replace(std::string_view text, std::string_view content) const;

  /// The text of a literal pattern; empty for a regular expression.
  const std::string& text() const { return text_; }

 private:
  Pattern() = default;
  std::string text_;
  std::string name_;                  // file and expression, for errors
  std::shared_ptr<const void> code_;  // a pcre2_code; null for a literal
  // pcre2_match_contexts with the limits for most matches, and for few
  std::shared_ptr<const void> few_steps_, steps_;
};

}  // namespace moebius
