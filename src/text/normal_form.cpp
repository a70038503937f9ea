// Unicode normalisation (annex 15) with origins. utf8proc provides decompositions, combining
// classes and compositions, but not the origin of each character of a result, so sorting and
// composing are done here. Only ranges with a character that the form may change are processed.
#include "text/normal_form.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <bitset>

#include "base/error.h"
#include "base/utf8.h"

namespace moebius {
namespace {

/// A character of the result. `consumed`: number of characters of the text that it was made of; 0
/// for the second and later parts of a decomposition.
struct Formed {
  char32_t c;
  int consumed;
};

/// Characters that got a combining class or a decomposition after Unicode 9, whose tables Hugging
/// Face's library normalises with: it treats them as having neither.
constexpr std::pair<char32_t, char32_t> kLater[] = {
    {0x7fd, 0x7fd},     {0x898, 0x89f},     {0x8ca, 0x8d3},     {0x9fe, 0x9fe},
    {0xc3c, 0xc3c},     {0xd3b, 0xd3c},     {0xeba, 0xeba},     {0x1715, 0x1715},
    {0x1abf, 0x1ace},   {0x1df6, 0x1dfa},   {0x32ff, 0x32ff},   {0xa7f2, 0xa7f4},
    {0xa82c, 0xa82c},   {0xab69, 0xab69},   {0x10781, 0x10785}, {0x10787, 0x107b0},
    {0x107b2, 0x107ba}, {0x10d24, 0x10d27}, {0x10eab, 0x10eac}, {0x10efd, 0x10eff},
    {0x10f46, 0x10f50}, {0x10f82, 0x10f85}, {0x11070, 0x11070}, {0x1133b, 0x1133b},
    {0x1145e, 0x1145e}, {0x11839, 0x1183a}, {0x11938, 0x11938}, {0x1193d, 0x1193e},
    {0x11943, 0x11943}, {0x119e0, 0x119e0}, {0x11a34, 0x11a34}, {0x11a47, 0x11a47},
    {0x11a99, 0x11a99}, {0x11d42, 0x11d42}, {0x11d44, 0x11d45}, {0x11d97, 0x11d97},
    {0x11f41, 0x11f42}, {0x16ff0, 0x16ff1}, {0x1e030, 0x1e06d}, {0x1e08f, 0x1e08f},
    {0x1e130, 0x1e136}, {0x1e2ae, 0x1e2ae}, {0x1e2ec, 0x1e2ef}, {0x1e4ec, 0x1e4ef},
    {0x1f16c, 0x1f16c}, {0x1fbf0, 0x1fbf9}};

bool is_later(char32_t c) {
  if (c < kLater[0].first) return false;
  const auto at = std::ranges::lower_bound(kLater, c, {}, &std::pair<char32_t, char32_t>::second);
  return at != std::end(kLater) && at->first <= c;
}

bool composes(NormalForm form) {
  return form == NormalForm::nfc || form == NormalForm::nfkc;
}

int combining_class(char32_t c) {
  if (is_later(c)) return 0;
  return utf8proc_get_property(static_cast<utf8proc_int32_t>(c))->combining_class;
}

/// Appends the full decomposition of `c`.
void decompose(char32_t c, NormalForm form, std::vector<Formed>& out) {
  if (is_later(c)) return out.push_back({c, 1});
  unsigned options = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE;
  if (form == NormalForm::nfkc || form == NormalForm::nfkd) options |= UTF8PROC_COMPAT;
  std::array<utf8proc_int32_t, 32> parts;  // the longest decomposition has 18
  int boundary = 0;
  const utf8proc_ssize_t size =
      utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c), parts.data(), parts.size(),
                              static_cast<utf8proc_option_t>(options), &boundary);
  if (size < 0 || size > static_cast<utf8proc_ssize_t>(parts.size())) {
    fail("Unicode normalisation of U+{:04X} failed", static_cast<unsigned>(c));
  }
  for (utf8proc_ssize_t i = 0; i < size; ++i) {
    out.push_back({static_cast<char32_t>(parts[static_cast<std::size_t>(i)]), i == 0});
  }
}

/// The composition of `first` and `second`, 0 if they do not compose.
char32_t compose_pair(char32_t first, char32_t second) {
  std::array<utf8proc_int32_t, 2> pair{static_cast<utf8proc_int32_t>(first),
                                       static_cast<utf8proc_int32_t>(second)};
  const auto options = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE);
  if (utf8proc_normalize_utf32(pair.data(), 2, options) != 1) return 0;
  const auto whole = static_cast<char32_t>(pair[0]);
  return is_later(whole) ? 0 : whole;
}

/// Sorts each run of combining marks by combining class.
void sort_marks(std::vector<Formed>& chars) {
  for (auto at = chars.begin(); at != chars.end();) {
    const auto is_starter = [](const Formed& f) { return combining_class(f.c) == 0; };
    const auto from = std::find_if_not(at, chars.end(), is_starter);
    at = std::find_if(from, chars.end(), is_starter);
    std::stable_sort(from, at, [](const Formed& a, const Formed& b) {
      return combining_class(a.c) < combining_class(b.c);
    });
  }
}

void compose(std::vector<Formed>& chars) {
  constexpr std::size_t kNone = npos;
  std::size_t starter = kNone, out = 0;
  int last_class = -1;  // combining class of the last mark kept after the starter; -1: none
  for (std::size_t i = 0; i < chars.size(); ++i) {
    const Formed next = chars[i];
    const int kind = combining_class(next.c);
    if (starter != kNone && last_class < kind) {
      if (const char32_t whole = compose_pair(chars[starter].c, next.c)) {
        chars[starter].c = whole;
        chars[starter].consumed += next.consumed;
        continue;
      }
    }
    if (kind == 0) starter = out, last_class = -1;
    if (kind != 0 && starter != kNone) last_class = kind;
    chars[out++] = next;
  }
  chars.resize(out);
}

std::vector<Formed> formed(std::string_view text, NormalForm form) {
  std::vector<Formed> out;
  for (std::size_t at = 0; at < text.size();) decompose(next_code_point(text, at), form, out);
  sort_marks(out);
  if (composes(form)) compose(out);
  return out;
}

/// Characters of the basic multilingual plane that the form never changes, whatever precedes them.
using Stable = std::bitset<0x10000>;

Stable stable_characters(NormalForm form) {
  Stable stable, joins_previous;
  std::vector<Formed> parts;
  for (char32_t c = 0; c < 0x10000; ++c) {
    if (c >= 0xD800 && c <= 0xDFFF) continue;
    parts.clear();
    decompose(c, form, parts);
    for (std::size_t i = 1; i < parts.size(); ++i) {
      if (parts[i].c < 0x10000) joins_previous.set(parts[i].c);
    }
    if (composes(form)) compose(parts);
    stable.set(c, parts.size() == 1 && parts[0].c == c && combining_class(c) == 0);
  }
  return composes(form) ? stable & ~joins_previous : stable;
}

const Stable& stable_of(NormalForm form) {
  static const Stable nfc = stable_characters(NormalForm::nfc);
  if (form == NormalForm::nfc) return nfc;
  static const std::array<Stable, 3> others = {stable_characters(NormalForm::nfd),
                                               stable_characters(NormalForm::nfkc),
                                               stable_characters(NormalForm::nfkd)};
  return others[static_cast<std::size_t>(form) - 1];
}

/// Appends the normalised form of bytes [begin, end) of `text`.
void append_formed(const AlignedText& text, std::size_t begin, std::size_t end, NormalForm form,
                   AlignedText& out) {
  std::size_t at = begin;  // of the next character that goes into the result
  std::string bytes;
  for (const Formed& f : formed(std::string_view(text.text()).substr(begin, end - begin), form)) {
    bytes.clear();
    append_utf8(bytes, f.c);
    out.append(bytes, f.consumed == 0 ? text.origin_before(at) : text.origin_at(at));
    for (int i = 0; i < f.consumed; ++i) next_code_point(text.text(), at);
  }
}

}  // namespace

void to_normal_form(AlignedText& text, NormalForm form) {
  const std::string& bytes = text.text();
  const Stable& stable = stable_of(form);
  AlignedText out = AlignedText::replacing(text);
  std::size_t done = 0, last_stable = 0;  // what was copied; where the last stable character begins
  for (std::size_t at = 0; at < bytes.size();) {
    if (static_cast<unsigned char>(bytes[at]) < 0x80) {
      last_stable = at++;
      continue;
    }
    const std::size_t begin = at;
    char32_t c = next_code_point(bytes, at);
    if (c < 0x10000 && stable[c]) {
      last_stable = begin;
      continue;
    }
    // The range to normalise starts at the last stable character, which may compose with what
    // follows, and ends before the next one.
    std::size_t end = at;
    while (at < bytes.size()) {
      c = next_code_point(bytes, at);
      if (c < 0x10000 && stable[c]) break;
      end = at;
    }
    out.append(text.view().sub(done, last_stable));
    append_formed(text, last_stable, end, form, out);
    done = last_stable = at = end;
  }
  if (done == 0) return;
  out.append(text.view().sub(done, bytes.size()));
  text = std::move(out);
}

}  // namespace moebius
