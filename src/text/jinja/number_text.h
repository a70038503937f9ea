// Conversion between numbers and text as in Python.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace moebius::jinja {

/// The value of the digit `c` in bases up to 36; 36 if it is not a digit.
int digit_value(char c);

/// `repr(float)`: the shortest text that converts back to the same number.
std::string real_text(double value);

/// `int(text, base)` of Python; base 0 takes it from the prefix. Nothing if the text is not an
/// integer; throws Error for one beyond 64 bits.
std::optional<std::int64_t> parse_integer(std::string_view text, int base);
/// `float(text)` of Python; nothing if the text is not a number.
std::optional<double> parse_real(std::string_view text);

}  // namespace moebius::jinja
