#include "text/jinja/string_literal.h"

#include "base/utf8.h"
#include "text/jinja/lexer.h"
#include "text/jinja/number_text.h"

namespace moebius::jinja {
namespace {

/// Appends the character whose code is given by `count` digits of `base` at `at`.
void append_code(std::string& out, std::string_view literal, std::size_t& at, std::size_t count,
                 int base, int line) {
  char32_t code = 0;
  std::size_t got = 0;
  for (; got < count && at < literal.size() && digit_value(literal[at]) < base; ++got, ++at) {
    code = code * static_cast<char32_t>(base) + static_cast<char32_t>(digit_value(literal[at]));
  }
  if (base == 16 && got < count) fail_at(line, "an escape in a string is cut short");
  if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) {
    fail_at(line, "an escape in a string is no character");
  }
  append_utf8(out, code);
}

void append_escape(std::string& out, std::string_view literal, std::size_t& at, int line) {
  const char c = literal[at++];
  constexpr std::string_view kFrom = "\\'\"abfnrtv", kTo = "\\'\"\a\b\f\n\r\t\v";
  if (const auto simple = kFrom.find(c); simple != npos) {
    out += kTo[simple];
  } else if (c == '\n') {
    return;  // line continuation
  } else if (c >= '0' && c <= '7') {
    append_code(out, literal, --at, 3, 8, line);
  } else if (c == 'x' || c == 'u' || c == 'U') {
    append_code(out, literal, at, c == 'x' ? 2 : c == 'u' ? 4 : 8, 16, line);
  } else if (c == 'N') {
    fail_at(line, "characters by name (\\N{...}) are not supported in strings");
  } else {
    out += '\\';
    out += c;
  }
}

}  // namespace

std::string unescape(std::string_view literal, int line) {
  std::string out;
  for (std::size_t at = 0; at < literal.size();) {
    const char c = literal[at++];
    if (c != '\\') {
      out += c;
    } else {
      append_escape(out, literal, at, line);
    }
  }
  return out;
}

}  // namespace moebius::jinja
