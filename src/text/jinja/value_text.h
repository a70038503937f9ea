// Conversion of values to text: Python's `str` and `repr`, and JSON.
#pragma once

#include <string>

#include "text/jinja/heap.h"

namespace moebius::jinja {

/// `str(value)`: what `{{ value }}` prints.
std::string_view text_of(Heap& heap, const Value& value);
/// `repr(value)`.
std::string repr_of(Heap& heap, const Value& value);

struct JsonStyle {
  bool escape_unicode = false;        ///< write characters beyond ASCII as \uXXXX
  std::optional<std::string> indent;  ///< one element per line, indented by this per level
  std::string item_separator = ", ", key_separator = ": ";
  bool sort_keys = false;
};
/// `json.dumps(value)`. Throws Error for values that JSON cannot represent.
std::string json_of(Heap& heap, const Value& value, const JsonStyle& style);

}  // namespace moebius::jinja
