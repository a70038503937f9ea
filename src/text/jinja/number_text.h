// Numbers to text and back, as Python writes and reads them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace moebius::jinja {

/// The digit that `c` is in bases up to 36; 36 if it is none.
int digit_value(char c);

/// `repr(float)`: the shortest digits that give the number back.
std::string real_text(double value);

/// `int(text, base)` of Python; base 0 takes it from the prefix. Nothing if the text is no integer;
/// throws Error for one beyond 64 bits.
std::optional<std::int64_t> parse_integer(std::string_view text, int base);
/// `float(text)` of Python; nothing if the text is no number.
std::optional<double> parse_real(std::string_view text);

}  // namespace moebius::jinja
