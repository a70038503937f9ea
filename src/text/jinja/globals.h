// The global functions and the variables of a chat template.
#pragma once

#include "base/error.h"
#include "base/json.h"
#include "text/jinja/heap.h"

namespace moebius::jinja {

/// The error that `raise_exception` in a template throws.
class Raised : public Error {
 public:
  using Error::Error;
};

using Variables = std::vector<std::pair<std::string_view, Value>>;

/// range, dict, namespace, raise_exception, strftime_now
Variables global_functions(Heap& heap);

/// Converts JSON to a value that refers to the strings of `json`. Throws Error for text that is not
/// UTF-8, integers beyond 64 bits and nesting that is too deep.
Value value_of(Heap& heap, const Json& json);

}  // namespace moebius::jinja
