// String literals of templates, which have Python's escapes.
#pragma once

#include <string>
#include <string_view>

namespace moebius::jinja {

/// What the text between the quotes stands for. Throws Error naming the line for a broken escape.
std::string unescape(std::string_view literal, int line);

}  // namespace moebius::jinja
