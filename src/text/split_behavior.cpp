#include "text/split_behavior.h"

#include <algorithm>
#include <array>

#include "base/utf8.h"

namespace moebius {

Behavior behavior_of(const JsonView& part, std::string_view key) {
  constexpr std::array<std::string_view, 5> names = {"Removed", "Isolated", "MergedWithPrevious",
                                                     "MergedWithNext", "Contiguous"};
  const std::string name = part.string(key);
  const auto at = std::find(names.begin(), names.end(), name);
  if (at == names.end()) part.fail_key(key, "is not known: " + name);
  return static_cast<Behavior>(at - names.begin());
}

void emit(AlignedView word, const std::vector<Span>& spans, Behavior behavior, Words& out) {
  for (std::size_t i = 0; i < spans.size(); ++i) {
    const Span& span = spans[i];
    if (behavior == Behavior::removed && span.match) continue;
    out.append(word.sub(span.begin, span.end));
    if (i + 1 < spans.size()) {
      const Span& next = spans[i + 1];
      if (behavior == Behavior::contiguous && span.match == next.match) continue;
      if (behavior == Behavior::merged_with_previous && next.match && !span.match) continue;
      if (behavior == Behavior::merged_with_next && span.match && !next.match) continue;
    }
    out.close();
  }
}

void split_at(AlignedView word, const std::function<bool(char32_t)>& is_delimiter,
              Behavior behavior, Words& out) {
  std::vector<Span> spans;
  for (std::size_t at = 0; at < word.size();) {
    const std::size_t begin = at;
    const bool match = is_delimiter(next_code_point(word.text, at));
    if (!match && !spans.empty() && !spans.back().match) {
      spans.back().end = at;
    } else {
      spans.push_back({begin, at, match});
    }
  }
  emit(word, spans, behavior, out);
}

}  // namespace moebius
