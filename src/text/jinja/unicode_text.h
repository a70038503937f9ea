// Operations of Python's `str` on UTF-8: a sequence of code points, with Python's character classes
// and case mappings. All strings are well-formed UTF-8; positions and lengths count code points.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace moebius::jinja {

/// `str.isspace` of one character.
bool is_space(char32_t c);
/// Length in bytes of the white space at offset `at` of `text`.
std::size_t leading_space(std::string_view text, std::size_t at = 0);

std::int64_t length_of(std::string_view text);
/// Byte offset of code point `index`, which is in [0, length].
std::size_t offset_of(std::string_view text, std::int64_t index);
/// The code points, each as a text.
std::vector<std::string_view> characters(std::string_view text);

enum class Side { left, right, both };
/// `text` without white space at the ends.
std::string_view strip(std::string_view text, Side side = Side::both);
/// `text` without the characters of `unwanted` at the ends.
std::string_view strip(std::string_view text, std::string_view unwanted, Side side);
/// `text` without the word at one end.
std::string_view strip_word(std::string_view text, Side side);

/// Offset of the first `needle` at or after `from`, or npos. Runs in linear time.
std::size_t find(std::string_view text, std::string_view needle, std::size_t from = 0);

std::string upper(std::string_view text);
std::string lower(std::string_view text);
/// First character in title case, the others in lower case.
std::string capitalize(std::string_view text);
/// `str.title`: the same for every run of letters.
std::string title(std::string_view text);

/// The lines of `str.splitlines`, without line ends.
std::vector<std::string_view> split_lines(std::string_view text);

enum class CharTest { alpha, digit, alnum, space, upper, lower };
/// `str.isalpha` and similar tests.
bool all_are(std::string_view text, CharTest test);

}  // namespace moebius::jinja
