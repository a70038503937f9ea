// UTF-8: validation and stepping. Everything that enters as text passes `check_utf8` first.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace moebius {

constexpr std::size_t npos = static_cast<std::size_t>(-1);

/// Byte offset of the first byte that is not part of well-formed UTF-8 (RFC 3629), npos if none.
std::size_t find_invalid_utf8(std::string_view bytes);

/// Throws Error naming `where` and the line and byte of the first malformed sequence.
void check_utf8(std::string_view bytes, std::string_view where);

/// Decodes the code point at `at`, which must be the start of a well-formed sequence; moves `at`
/// behind it.
char32_t next_code_point(std::string_view text, std::size_t& at);

void append_utf8(std::string& out, char32_t code_point);

/// Length of the longest prefix that does not end inside an unfinished (but so far well-formed)
/// sequence: what a stream may print without cutting a character.
std::size_t complete_utf8_prefix(std::string_view bytes);

/// Copy with every malformed sequence replaced by U+FFFD.
std::string replace_invalid_utf8(std::string_view bytes);

}  // namespace moebius
