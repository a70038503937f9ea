// utf8proc knows decompositions, classes and compositions but not which character went where, so
// the sorting and composing of the standard (annex 15) is done here, with counts. Only stretches
// with a character that the form may touch are looked at.
#include "text/normal_form.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <bitset>

#include "base/error.h"
#include "base/utf8.h"

namespace moebius {
namespace {

/// A character of the result. `consumed`: how many of the text's went into it; 0 for the further
/// parts of one that was decomposed.
struct Formed {
  char32_t c;
  int consumed;
};

bool composes(NormalForm form) {
  return form == NormalForm::nfc || form == NormalForm::nfkc;
}

int combining_class(char32_t c) {
  return utf8proc_get_property(static_cast<utf8proc_int32_t>(c))->combining_class;
}

/// Appends the full decomposition of `c`.
void decompose(char32_t c, NormalForm form, std::vector<Formed>& out) {
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

/// The character that `first` and `second` make together, 0 if they don't.
char32_t compose_pair(char32_t first, char32_t second) {
  std::array<utf8proc_int32_t, 2> pair{static_cast<utf8proc_int32_t>(first),
                                       static_cast<utf8proc_int32_t>(second)};
  const auto options = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE);
  return utf8proc_normalize_utf32(pair.data(), 2, options) == 1 ? static_cast<char32_t>(pair[0])
                                                                 : 0;
}

/// Puts each run of marks in the order of their classes.
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
  int last_class = -1;  // of the marks kept behind the starter; -1 while there are none
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

/// The characters of the basic plane that the form leaves alone whatever stands before them.
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

/// Appends the form of bytes [begin, end) of `text`.
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
    // The stretch goes from the last stable character, which may compose with what follows, to
    // the next one.
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
