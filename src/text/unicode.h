// What the tokenizer asks of the Unicode standard: classes of characters and normal forms.
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

/// What a set of PCRE2's syntax needs beside `\p{L}` or `\p{N}`, whose data may be older.
std::string newer_ranges(CharClass kind);

enum class NormalForm { nfc, nfd, nfkc, nfkd };

/// `text` must be well-formed UTF-8.
std::string to_normal_form(std::string_view text, NormalForm form);
/// Character by character, so without the rule for a final sigma.
std::string to_lowercase(std::string_view text);

}  // namespace moebius
