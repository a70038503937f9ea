// Classes of Unicode characters, as tokenizers and templates need them, and lower case.
#pragma once

#include <string>
#include <string_view>

namespace moebius {

enum class CharClass : unsigned char { letter, number, space, other };

/// The class of a character: `\p{L}`, `\p{N}`, `\s` or none of them.
CharClass char_class(char32_t c);
inline bool is_white_space(char32_t c) {
  return char_class(c) == CharClass::space;
}
/// `\w` of Unicode's annex 18: alphabetic, mark, decimal digit, connector or joiner.
bool is_word_char(char32_t c);

/// `char::is_numeric` of Rust, which has two more ranges than the regular expressions.
bool is_numeric(char32_t c);
/// ASCII punctuation and symbols, and the general categories of punctuation.
bool is_punctuation(char32_t c);

/// Members, in PCRE2's syntax for sets, that a property such as L or Nd has in newer versions of
/// Unicode than PCRE2's data; empty if none.
std::string newer_members(std::string_view property);
/// Members, in PCRE2's syntax for sets, of Oniguruma's `\w`, which differs inside a set.
std::string word_members(bool in_set);

/// Appends the lower case of one character, regardless of its context (a final sigma).
void append_lowercase(std::string& out, char32_t c);

}  // namespace moebius
