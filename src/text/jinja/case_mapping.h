// The case of characters. The case mappings are in unicode_text.h.
#pragma once

namespace moebius::jinja {

enum class Case { none, lower, upper, title };
Case case_of(char32_t c);

}  // namespace moebius::jinja
