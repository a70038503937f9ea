// Python's two kinds of string formatting: `"{}".format(x)` and `"%s" % x`.
#pragma once

#include "text/jinja/heap.h"

namespace moebius::jinja {

/// Replacement fields by position or name with `!r`, `!s` and precisions such as `:.2f`. Throws
/// Error for other specifications.
std::string_view format_braces(Heap& heap, std::string_view text, const Arguments& arguments);
/// `%s`, `%r`, `%d`, `%i`, `%f`, `%%`, with a precision and with names. Throws Error for others.
std::string_view format_percent(Heap& heap, std::string_view text, const Value& values);

}  // namespace moebius::jinja
