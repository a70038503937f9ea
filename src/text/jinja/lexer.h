// Lexer: splits a template into text and tags, and tags into tokens, with the whitespace control
// that transformers sets: `trim_blocks`, `lstrip_blocks`, one newline dropped at the end.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace moebius::jinja {

struct Token {
  enum class Kind {
    text,          ///< outside of tags
    block_begin,   ///< {%
    block_end,     ///< %}
    output_begin,  ///< {{
    output_end,    ///< }}
    name,
    string,
    integer,
    real,
    op,
    end,
  };
  Kind kind = Kind::end;
  std::string text;  ///< value of text and strings; spelling of names and operators
  std::int64_t integer = 0;
  double real = 0;
  int line = 1;
};

/// Throws Error with a message that names the line of the template.
[[noreturn]] void fail_at(int line, std::string_view what);

/// All tokens, the last one of kind `end`. `source` must be UTF-8. Throws Error naming the line.
std::vector<Token> tokenize(std::string_view source);

}  // namespace moebius::jinja
