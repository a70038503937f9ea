// Text as Python's `str` sees it: a row of code points, with Python's classes and case mappings.
// All strings are well-formed UTF-8; positions and lengths below count code points.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace moebius::jinja {

/// `str.isspace` of one character.
bool is_space(char32_t c);
/// Bytes of white space at the start of `text` from `at` on.
std::size_t leading_space(std::string_view text, std::size_t at = 0);

std::int64_t length_of(std::string_view text);
/// Byte offset of code point `index`, which is in [0, length].
std::size_t offset_of(std::string_view text, std::int64_t index);
/// Every code point as a text of its own.
std::vector<std::string_view> characters(std::string_view text);

enum class Side { left, right, both };
/// Without white space at the ends.
std::string_view strip(std::string_view text, Side side = Side::both);
/// Without the characters of `unwanted` at the ends.
std::string_view strip(std::string_view text, std::string_view unwanted, Side side);
/// Without the word that touches one of the ends.
std::string_view strip_word(std::string_view text, Side side);

/// Offset of the first `needle` at or after `from`, or npos. Its time is linear.
std::size_t find(std::string_view text, std::string_view needle, std::size_t from = 0);

std::string upper(std::string_view text);
std::string lower(std::string_view text);
/// First character in title case, the others in lower case.
std::string capitalize(std::string_view text);
/// `str.title`: so for every run of letters.
std::string title(std::string_view text);

/// Lines as `str.splitlines` cuts them, without their ends.
std::vector<std::string_view> split_lines(std::string_view text);

enum class CharTest { alpha, digit, alnum, space, upper, lower };
/// `str.isalpha` and its kin.
bool all_are(std::string_view text, CharTest test);

}  // namespace moebius::jinja
