#include "base/utf8.h"

#include <algorithm>

#include "base/error.h"

namespace moebius {
namespace {

struct Sequence {
  std::size_t length = 0;   // bytes that belong together
  bool valid = false;       // a whole, well-formed character
  bool unfinished = false;  // well-formed so far, but the text ends
};

bool is_continuation(unsigned char byte) {
  return (byte & 0xC0) == 0x80;
}

/// Classifies the sequence that starts at `at` (maximal-subpart rule of the Unicode standard).
Sequence classify(std::string_view bytes, std::size_t at) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(bytes[at + i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return {1, true, false};
  std::size_t need = 0;
  unsigned char low = 0x80, high = 0xBF;  // bounds of the second byte
  if (lead >= 0xC2 && lead <= 0xDF) {
    need = 2;
  } else if (lead >= 0xE0 && lead <= 0xEF) {
    need = 3;
    if (lead == 0xE0) low = 0xA0;
    if (lead == 0xED) high = 0x9F;
  } else if (lead >= 0xF0 && lead <= 0xF4) {
    need = 4;
    if (lead == 0xF0) low = 0x90;
    if (lead == 0xF4) high = 0x8F;
  } else {
    return {1, false, false};
  }
  const std::size_t left = bytes.size() - at;
  for (std::size_t i = 1; i < need; ++i) {
    if (i >= left) return {i, false, true};
    const bool good = i == 1 ? byte(1) >= low && byte(1) <= high : is_continuation(byte(i));
    if (!good) return {i, false, false};
  }
  return {need, true, false};
}

}  // namespace

std::size_t find_invalid_utf8(std::string_view bytes) {
  for (std::size_t at = 0; at < bytes.size();) {
    const Sequence sequence = classify(bytes, at);
    if (!sequence.valid) return at;
    at += sequence.length;
  }
  return npos;
}

void check_utf8(std::string_view bytes, std::string_view where) {
  const std::size_t bad = find_invalid_utf8(bytes);
  if (bad == npos) return;
  const auto line =
      std::count(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(bad), '\n') + 1;
  throw Error(fmt::format("{}: not UTF-8 at byte {} (line {}), value 0x{:02X}", where, bad, line,
                          static_cast<unsigned char>(bytes[bad])),
              "convert the text to UTF-8, for example with iconv");
}

char32_t next_code_point(std::string_view text, std::size_t& at) {
  const auto byte = [&](std::size_t i) {
    return static_cast<char32_t>(static_cast<unsigned char>(text[at + i]));
  };
  const char32_t lead = byte(0);
  if (lead < 0x80) return ++at, lead;
  if (lead < 0xE0) {
    const char32_t c = (lead & 0x1F) << 6 | (byte(1) & 0x3F);
    return at += 2, c;
  }
  if (lead < 0xF0) {
    const char32_t c = (lead & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F);
    return at += 3, c;
  }
  const char32_t c =
      (lead & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F);
  return at += 4, c;
}

void append_utf8(std::string& out, char32_t c) {
  const auto put = [&](char32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | c >> 6), put(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    put(0xE0 | c >> 12), put(0x80 | (c >> 6 & 0x3F)), put(0x80 | (c & 0x3F));
  } else {
    put(0xF0 | c >> 18), put(0x80 | (c >> 12 & 0x3F)), put(0x80 | (c >> 6 & 0x3F));
    put(0x80 | (c & 0x3F));
  }
}

std::size_t complete_utf8_prefix(std::string_view bytes) {
  // An unfinished sequence is at most three bytes long, so only the last three need a look.
  for (std::size_t back = 1; back <= 3 && back <= bytes.size(); ++back) {
    const std::size_t at = bytes.size() - back;
    if (is_continuation(static_cast<unsigned char>(bytes[at]))) continue;
    return classify(bytes, at).unfinished ? at : bytes.size();
  }
  return bytes.size();
}

std::string replace_invalid_utf8(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  for (std::size_t at = 0; at < bytes.size();) {
    const Sequence sequence = classify(bytes, at);
    if (sequence.valid) {
      out.append(bytes.substr(at, sequence.length));
    } else {
      append_utf8(out, 0xFFFD);
    }
    at += sequence.length;
  }
  return out;
}

}  // namespace moebius
