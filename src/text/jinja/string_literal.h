// String literals of templates, with Python's escape sequences.
#pragma once

#include <string>
#include <string_view>

namespace moebius::jinja {

/// The value of the text between the quotes. Throws Error naming the line of a malformed escape.
std::string unescape(std::string_view literal, int line);

}  // namespace moebius::jinja
