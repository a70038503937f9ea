// What the tokenizer asks of the Unicode standard: classes of characters and lower case.
#pragma once

#include <string>
#include <string_view>

namespace moebius {

enum class CharClass : unsigned char { letter, number, space, other };

/// `\p{L}`, `\p{N}`, `\s` or none of them.
CharClass char_class(char32_t c);
inline bool is_white_space(char32_t c) {
  return char_class(c) == CharClass::space;
}
/// `\w` of Unicode's annex 18: alphabetic, mark, decimal digit, connector or joiner.
bool is_word_char(char32_t c);

/// A number to Rust's standard library, which knows two more ranges than the regular expressions.
bool is_numeric(char32_t c);
/// ASCII punctuation and symbols, and the general categories of punctuation.
bool is_punctuation(char32_t c);

/// What a set of PCRE2's syntax needs beside a property such as L or Nd, whose data may be older;
/// empty if nothing.
std::string newer_members(std::string_view property);
/// What a set of PCRE2's syntax needs for the `\w` of Oniguruma, in which it is another inside a
/// set than on its own.
std::string word_members(bool in_set);

/// Appends the lower case of one character, so without the rule for a final sigma.
void append_lowercase(std::string& out, char32_t c);

}  // namespace moebius
