// Which case a character has. The mappings themselves stand in unicode_text.h.
#pragma once

namespace moebius::jinja {

enum class Case { none, lower, upper, title };
Case case_of(char32_t c);

}  // namespace moebius::jinja
