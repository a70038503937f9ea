// The functions that every chat template finds, and its variables.
#pragma once

#include "base/error.h"
#include "base/json.h"
#include "text/jinja/heap.h"

namespace moebius::jinja {

/// What a template says with `raise_exception`.
class Raised : public Error {
 public:
  using Error::Error;
};

using Variables = std::vector<std::pair<std::string_view, Value>>;

/// range, dict, namespace, raise_exception, strftime_now
Variables global_functions(Heap& heap);

/// The value that JSON stands for; its strings stay where they are. Throws Error for text that
/// isn't UTF-8, integers beyond 64 bits and nesting beyond reason.
Value value_of(Heap& heap, const Json& json);

}  // namespace moebius::jinja
