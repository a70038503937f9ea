#include "text/jinja/unicode_text.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstring>

#include "base/utf8.h"
#include "text/jinja/case_mapping.h"

namespace moebius::jinja {
namespace {

/// Start of the code point that ends before byte `end`.
std::size_t previous(std::string_view text, std::size_t end) {
  do --end;
  while ((static_cast<unsigned char>(text[end]) & 0xC0) == 0x80);
  return end;
}

template <class Unwanted>
std::string_view strip_if(std::string_view text, Side side, const Unwanted& unwanted) {
  while (side != Side::right && !text.empty()) {
    std::size_t after = 0;
    if (!unwanted(next_code_point(text, after))) break;
    text.remove_prefix(after);
  }
  while (side != Side::left && !text.empty()) {
    const std::size_t start = previous(text, text.size());
    std::size_t at = start;
    if (!unwanted(next_code_point(text, at))) break;
    text.remove_suffix(text.size() - start);
  }
  return text;
}

bool ends_line(char32_t c) {
  return (c >= 0xA && c <= 0xD) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 ||
         c == 0x2029;
}

bool passes(char32_t c, CharTest test) {
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  const bool alpha = category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
  const bool number = category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO;
  if (test == CharTest::space) return is_space(c);
  if (test == CharTest::digit) return category == UTF8PROC_CATEGORY_ND;
  return alpha || (number && test == CharTest::alnum);
}

/// `str.isupper` and `str.islower`: at least one cased letter, and none of the other case.
bool has_only_case(std::string_view text, bool want_upper) {
  bool found = false;
  for (std::size_t at = 0; at < text.size();) {
    const Case kind = case_of(next_code_point(text, at));
    if (kind == Case::none) continue;
    if ((kind == Case::upper) != want_upper || kind == Case::title) return false;
    found = true;
  }
  return found;
}

}  // namespace

bool is_space(char32_t c) {
  return (c >= 0x9 && c <= 0xD) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
         c == 0x205F || c == 0x3000;
}

std::size_t leading_space(std::string_view text, std::size_t at) {
  const std::string_view rest = text.substr(at);
  return rest.size() - strip(rest, Side::left).size();
}

std::int64_t length_of(std::string_view text) {
  return std::count_if(text.begin(), text.end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
}

std::size_t offset_of(std::string_view text, std::int64_t index) {
  std::size_t at = 0;
  for (; index > 0; --index) next_code_point(text, at);
  return at;
}

std::vector<std::string_view> characters(std::string_view text) {
  std::vector<std::string_view> out;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t start = at;
    next_code_point(text, at);
    out.push_back(text.substr(start, at - start));
  }
  return out;
}

std::string_view strip(std::string_view text, Side side) {
  return strip_if(text, side, is_space);
}

std::string_view strip(std::string_view text, std::string_view unwanted, Side side) {
  std::vector<char32_t> set;
  for (std::size_t at = 0; at < unwanted.size();) set.push_back(next_code_point(unwanted, at));
  std::sort(set.begin(), set.end());
  return strip_if(text, side,
                  [&](char32_t c) { return std::binary_search(set.begin(), set.end(), c); });
}

std::string_view strip_word(std::string_view text, Side side) {
  return strip_if(text, side, [](char32_t c) { return !is_space(c); });
}

std::size_t find(std::string_view text, std::string_view needle, std::size_t from) {
  if (from > text.size()) return npos;
  if (needle.empty()) return from;
  if (needle.size() > text.size() - from)
    return npos;  // the data pointer of an empty text may be null
  const void* found =
      ::memmem(text.data() + from, text.size() - from, needle.data(), needle.size());
  if (found == nullptr) return npos;
  return static_cast<std::size_t>(static_cast<const char*>(found) - text.data());
}

std::vector<std::string_view> split_lines(std::string_view text) {
  std::vector<std::string_view> lines;
  std::size_t start = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = at;
    const char32_t c = next_code_point(text, at);
    if (!ends_line(c)) continue;
    if (c == '\r' && at < text.size() && text[at] == '\n') ++at;
    lines.push_back(text.substr(start, end - start));
    start = at;
  }
  if (start < text.size()) lines.push_back(text.substr(start));
  return lines;
}

bool all_are(std::string_view text, CharTest test) {
  if (test == CharTest::upper || test == CharTest::lower) {
    return has_only_case(text, test == CharTest::upper);
  }
  for (std::size_t at = 0; at < text.size();) {
    if (!passes(next_code_point(text, at), test)) return false;
  }
  return !text.empty();
}

}  // namespace moebius::jinja
