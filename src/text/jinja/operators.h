// Arithmetic on values.
#pragma once

#include "text/jinja/heap.h"

namespace moebius::jinja {

/// `a op b` for "+", "-", "*", "/", "//", "%", "**". Integers beyond 64 bits are an error.
Value arithmetic(Heap& heap, std::string_view op, const Value& a, const Value& b);
/// `-value` or `+value`
Value signed_value(std::string_view op, const Value& value);

/// `round(value, digits)` of Python: half to even, on the exact binary value.
double round_to(double value, std::int64_t digits);

}  // namespace moebius::jinja
