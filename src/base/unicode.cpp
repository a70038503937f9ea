// utf8proc and PCRE2 have the character database of the Unicode version that they were built for
// (15.0 and 14.0 in Debian 12); that of Hugging Face's library is newer. Characters that were added
// after 14.0 to the classes used here are listed in `kNewer`, so that all split words alike.
#include "base/unicode.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include "base/error.h"
#include "base/utf8.h"

namespace moebius {
namespace {

enum class Kind : unsigned char { letter, number, mark };

struct Range {
  char32_t first, last;
  Kind kind;
};

constexpr Kind L = Kind::letter, N = Kind::number, M = Kind::mark;
constexpr Range kNewer[] = {
    {0x897, 0x897, M},     {0xcf3, 0xcf3, M},     {0xece, 0xece, M},     {0x1c89, 0x1c8a, L},
    {0xa7cb, 0xa7cd, L},   {0xa7da, 0xa7dc, L},   {0x105c0, 0x105f3, L}, {0x10d40, 0x10d49, N},
    {0x10d4a, 0x10d65, L}, {0x10d69, 0x10d6d, M}, {0x10d6f, 0x10d85, L}, {0x10ec2, 0x10ec4, L},
    {0x10efc, 0x10eff, M}, {0x1123f, 0x11240, L}, {0x11241, 0x11241, M}, {0x11380, 0x11389, L},
    {0x1138b, 0x1138b, L}, {0x1138e, 0x1138e, L}, {0x11390, 0x113b5, L}, {0x113b7, 0x113b7, L},
    {0x113b8, 0x113c0, M}, {0x113c2, 0x113c2, M}, {0x113c5, 0x113c5, M}, {0x113c7, 0x113ca, M},
    {0x113cc, 0x113d0, M}, {0x113d1, 0x113d1, L}, {0x113d2, 0x113d2, M}, {0x113d3, 0x113d3, L},
    {0x113e1, 0x113e2, M}, {0x116d0, 0x116e3, N}, {0x11bc0, 0x11be0, L}, {0x11bf0, 0x11bf9, N},
    {0x11f00, 0x11f01, M}, {0x11f02, 0x11f02, L}, {0x11f03, 0x11f03, M}, {0x11f04, 0x11f10, L},
    {0x11f12, 0x11f33, L}, {0x11f34, 0x11f3a, M}, {0x11f3e, 0x11f42, M}, {0x11f50, 0x11f59, N},
    {0x11f5a, 0x11f5a, M}, {0x1342f, 0x1342f, L}, {0x13440, 0x13440, M}, {0x13441, 0x13446, L},
    {0x13447, 0x13455, M}, {0x13460, 0x143fa, L}, {0x16100, 0x1611d, L}, {0x1611e, 0x1612f, M},
    {0x16130, 0x16139, N}, {0x16d40, 0x16d6c, L}, {0x16d70, 0x16d79, N}, {0x18cff, 0x18cff, L},
    {0x1b132, 0x1b132, L}, {0x1b155, 0x1b155, L}, {0x1ccf0, 0x1ccf9, N}, {0x1d2c0, 0x1d2d3, N},
    {0x1df25, 0x1df2a, L}, {0x1e030, 0x1e06d, L}, {0x1e08f, 0x1e08f, M}, {0x1e4d0, 0x1e4eb, L},
    {0x1e4ec, 0x1e4ef, M}, {0x1e4f0, 0x1e4f9, N}, {0x1e5d0, 0x1e5ed, L}, {0x1e5ee, 0x1e5ef, M},
    {0x1e5f0, 0x1e5f0, L}, {0x1e5f1, 0x1e5fa, N}, {0x2b739, 0x2b739, L}, {0x2ebf0, 0x2ee5d, L},
    {0x31350, 0x323af, L},
};

/// Symbols that are alphabetic: circled and squared letters.
constexpr Range kCircled[] = {
    {0x24b6, 0x24e9, L}, {0x1f130, 0x1f149, L}, {0x1f150, 0x1f169, L}, {0x1f170, 0x1f189, L}};

const Range* find_newer(char32_t c) {
  const auto at = std::lower_bound(std::begin(kNewer), std::end(kNewer), c,
                                   [](const Range& range, char32_t x) { return range.last < x; });
  return at != std::end(kNewer) && at->first <= c ? at : nullptr;
}

CharClass classify(char32_t c) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
      return CharClass::letter;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
      return CharClass::number;
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return CharClass::space;
    case UTF8PROC_CATEGORY_CC:
      return (c >= 0x9 && c <= 0xD) || c == 0x85 ? CharClass::space : CharClass::other;
    case UTF8PROC_CATEGORY_CN:
      if (const Range* newer = find_newer(c)) {
        if (newer->kind == Kind::letter) return CharClass::letter;
        if (newer->kind == Kind::number) return CharClass::number;
      }
      return CharClass::other;
    default:
      return CharClass::other;
  }
}

const std::array<CharClass, 256>& low_classes() {
  static const std::array<CharClass, 256> table = [] {
    std::array<CharClass, 256> out{};
    for (char32_t c = 0; c < 256; ++c) out[c] = classify(c);
    return out;
  }();
  return table;
}

}  // namespace

CharClass char_class(char32_t c) {
  return c < 256 ? low_classes()[c] : classify(c);
}

bool is_word_char(char32_t c) {
  if (c == 0x200C || c == 0x200D) return true;  // the joiners
  for (const Range& range : kCircled) {
    if (c >= range.first && c <= range.last) return true;
  }
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  if (category == UTF8PROC_CATEGORY_CN) return find_newer(c) != nullptr;
  return (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_NL) ||
         category == UTF8PROC_CATEGORY_PC;
}

bool is_numeric(char32_t c) {
  return char_class(c) == CharClass::number || (c >= 0x11de0 && c <= 0x11de9) ||
         (c >= 0x16ff4 && c <= 0x16ff6);
}

bool is_punctuation(char32_t c) {
  if (c < 0x80) return c > ' ' && c < 0x7F && char_class(c) == CharClass::other;
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  return category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_PO;
}

namespace {

std::string range_members(const Range& range) {
  return fmt::format("\\x{{{:x}}}-\\x{{{:x}}}", static_cast<unsigned>(range.first),
                     static_cast<unsigned>(range.last));
}

}  // namespace

std::string newer_members(std::string_view property) {
  constexpr char32_t kNoDigits = 0x1d2c0;  // newer numbers that are not decimal digits
  constexpr Range kUpper[] = {{0x1c89, 0x1c89, L},
                              {0xa7cb, 0xa7cc, L},
                              {0xa7da, 0xa7da, L},
                              {0xa7dc, 0xa7dc, L},
                              {0x10d50, 0x10d65, L}};
  constexpr Range kLower[] = {{0x1c8a, 0x1c8a, L},
                              {0xa7cd, 0xa7cd, L},
                              {0xa7db, 0xa7db, L},
                              {0x10d70, 0x10d85, L},
                              {0x1df25, 0x1df2a, L}};
  std::string out;
  if (property == "Lu") {
    for (const Range& range : kUpper) out += range_members(range);
  } else if (property == "Ll") {
    for (const Range& range : kLower) out += range_members(range);
  } else if (property == "L" || property == "M" || property == "N" || property == "Nd") {
    for (const Range& range : kNewer) {
      const bool belongs = range.kind == (property == "L" ? L : property == "M" ? M : N);
      if (belongs && !(property == "Nd" && range.first == kNoDigits)) {
        out += range_members(range);
      }
    }
  }
  return out;
}

std::string word_members(bool in_set) {
  std::string out = "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}";
  // Outside a set it also matches Latin-1's superscripts and fractions.
  if (!in_set) out += "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}";
  for (const Range& range : kCircled) out += range_members(range);
  return out + newer_members("L") + newer_members("M") + newer_members("Nd");
}

namespace {

/// Lower cases that are newer than utf8proc's: for `first` to `last`, the offset to add.
struct NewerCase {
  char32_t first, last;
  std::int32_t distance;
};
constexpr NewerCase kNewerCases[] = {
    {0x1c89, 0x1c89, 1},      {0xa7cb, 0xa7cb, 0x264 - 0xa7cb},
    {0xa7cc, 0xa7cc, 1},      {0xa7ce, 0xa7ce, 1},
    {0xa7d2, 0xa7d2, 1},      {0xa7d4, 0xa7d4, 1},
    {0xa7da, 0xa7da, 1},      {0xa7dc, 0xa7dc, 0x19b - 0xa7dc},
    {0x10d50, 0x10d65, 0x20}, {0x16ea0, 0x16eb8, 0x1b},
};

char32_t lowercase(char32_t c) {
  for (const NewerCase& newer : kNewerCases) {
    if (c >= newer.first && c <= newer.last) {
      return static_cast<char32_t>(static_cast<std::int32_t>(c) + newer.distance);
    }
  }
  return static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c)));
}

}  // namespace

void append_lowercase(std::string& out, char32_t c) {
  append_utf8(out, lowercase(c));
  // The only character whose lower case has two characters: a dotted capital I keeps its dot.
  if (c == 0x130) out.resize(out.size() - 1), out += "i\xCC\x87";
}

}  // namespace moebius
