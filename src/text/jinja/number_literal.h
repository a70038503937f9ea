// Lengths of number literals in a template.
#pragma once

#include <string_view>

namespace moebius::jinja {

/// Length in bytes of the float literal at `at`, 0 if there is none.
std::size_t real_length(std::string_view source, std::size_t at);
/// Length in bytes of the integer literal at `at`, where there is a digit. A decimal literal other
/// than 0 does not begin with 0.
std::size_t integer_length(std::string_view source, std::size_t at);

}  // namespace moebius::jinja
