#include "text/jinja/number_literal.h"

#include "text/jinja/number_text.h"

namespace moebius::jinja {
namespace {

char char_at(std::string_view source, std::size_t at) {
  return at < source.size() ? source[at] : '\0';
}

/// Length of the digits at `at`; each may follow an underscore, the first one only if `led`.
std::size_t digits(std::string_view source, std::size_t at, int base = 10, bool led = false) {
  const std::size_t start = at;
  for (;; ++at) {
    if ((led || at > start) && char_at(source, at) == '_' &&
        digit_value(char_at(source, at + 1)) < base) {
      ++at;
    }
    if (digit_value(char_at(source, at)) >= base) return at - start;
  }
}

int base_of(char letter) {
  switch (letter | 0x20) {
    case 'x':
      return 16;
    case 'o':
      return 8;
    case 'b':
      return 2;
    default:
      return 10;
  }
}

}  // namespace

std::size_t real_length(std::string_view source, std::size_t at) {
  if (at > 0 && source[at - 1] == '.') return 0;
  std::size_t length = digits(source, at);
  bool real = false;
  if (char_at(source, at + length) == '.') {
    const std::size_t fraction = digits(source, at + length + 1);
    real = fraction > 0;
    if (real) length += 1 + fraction;
  }
  if ((char_at(source, at + length) | 0x20) == 'e') {
    const char sign = char_at(source, at + length + 1);
    const std::size_t start = length + (sign == '+' || sign == '-' ? 2 : 1);
    const std::size_t exponent = digits(source, at + start);
    if (exponent > 0) return start + exponent;
  }
  return real ? length : 0;
}

std::size_t integer_length(std::string_view source, std::size_t at) {
  if (source[at] != '0') return digits(source, at);
  if (const int base = base_of(char_at(source, at + 1)); base != 10) {
    const std::size_t more = digits(source, at + 2, base, /*led=*/true);
    if (more > 0) return 2 + more;
  }
  return digits(source, at, 1);
}

}  // namespace moebius::jinja
