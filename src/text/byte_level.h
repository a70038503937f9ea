// GPT-2's byte-level encoding: its word pattern, and its alphabet of 256 printable characters that
// represent the 256 byte values.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace moebius {

/// End of the word that starts at `at` (< text.size()) under
/// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`;
/// the words cover the whole text.
std::size_t gpt2_word_end(std::string_view text, std::size_t at);

/// Appends the character of the alphabet that represents each byte.
void append_byte_level(std::string& out, std::string_view bytes);

/// The byte that `c` represents; -1 if `c` is not in the alphabet.
int byte_of_char(char32_t c);
/// The character that represents `byte`.
char32_t char_of_byte(unsigned char byte);

}  // namespace moebius
