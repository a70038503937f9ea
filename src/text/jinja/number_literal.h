// How far the numbers in a template reach.
#pragma once

#include <string_view>

namespace moebius::jinja {

/// Bytes of the float that begins at `at`, 0 if none does.
std::size_t real_length(std::string_view source, std::size_t at);
/// Bytes of the integer that begins at `at`, where a digit stands. A decimal one does not begin
/// with 0.
std::size_t integer_length(std::string_view source, std::size_t at);

}  // namespace moebius::jinja
