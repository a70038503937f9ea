#include "text/byte_level.h"

#include <array>

#include "base/unicode.h"
#include "base/utf8.h"

namespace moebius {
namespace {

/// Bytes that are printable in Latin-1 represent themselves, the others get U+0100 onwards.
struct Alphabet {
  std::array<char32_t, 256> chars{};
  std::array<int, 512> bytes{};
  std::array<std::array<char, 2>, 256> utf8{};
  std::array<unsigned char, 256> length{};

  Alphabet() {
    bytes.fill(-1);
    char32_t next = 0x100;
    for (unsigned byte = 0; byte < 256; ++byte) {
      const bool printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
      const char32_t c = printable ? byte : next++;
      chars[byte] = c;
      bytes[c] = static_cast<int>(byte);
      std::string text;
      append_utf8(text, c);
      length[byte] = static_cast<unsigned char>(text.size());
      text.copy(utf8[byte].data(), text.size());
    }
  }
};

const Alphabet& alphabet() {
  static const Alphabet instance;
  return instance;
}

/// Class of the character at `at`; advances `at` past it.
CharClass step(std::string_view text, std::size_t& at) {
  return char_class(next_code_point(text, at));
}

std::size_t end_of_run(std::string_view text, std::size_t at, CharClass kind) {
  while (at < text.size()) {
    std::size_t next = at;
    if (step(text, next) != kind) break;
    at = next;
  }
  return at;
}

/// Length of the contraction after an apostrophe at `at`, 0 if there is none.
std::size_t contraction(std::string_view text, std::size_t at) {
  const std::string_view rest = text.substr(at + 1, 2);
  if (rest.empty()) return 0;
  if (std::string_view("stmd").find(rest[0]) != std::string_view::npos) return 2;
  return rest == "re" || rest == "ve" || rest == "ll" ? 3 : 0;
}

}  // namespace

std::size_t gpt2_word_end(std::string_view text, std::size_t at) {
  if (text[at] == '\'') {
    if (const std::size_t length = contraction(text, at)) return at + length;
  }
  std::size_t next = at;
  CharClass kind = step(text, next);
  if (text[at] == ' ' && next < text.size()) kind = step(text, next);  // ` ?` of the pattern
  if (kind != CharClass::space) return end_of_run(text, next, kind);

  // The last character of white space belongs to the word that follows, if there is one.
  std::size_t last = at, end = at;
  while (end < text.size()) {
    next = end;
    if (step(text, next) != CharClass::space) return last == at ? end : last;
    last = end;
    end = next;
  }
  return end;
}

void append_byte_level(std::string& out, std::string_view bytes) {
  const Alphabet& table = alphabet();
  const std::size_t before = out.size();
  out.resize(before + 2 * bytes.size());
  char* to = out.data() + before;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    to[0] = table.utf8[byte][0];
    to[1] = table.utf8[byte][1];  // overwritten by the next character if this one has one byte
    to += table.length[byte];
  }
  out.resize(static_cast<std::size_t>(to - out.data()));
}

int byte_of_char(char32_t c) {
  return c < 512 ? alphabet().bytes[c] : -1;
}

char32_t char_of_byte(unsigned char byte) {
  return alphabet().chars[byte];
}

}  // namespace moebius
