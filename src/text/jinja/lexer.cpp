#include "text/jinja/lexer.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "base/unicode.h"
#include "base/utf8.h"
#include "text/jinja/number_literal.h"
#include "text/jinja/number_text.h"
#include "text/jinja/string_literal.h"
#include "text/jinja/unicode_text.h"

namespace moebius::jinja {
namespace {

constexpr std::string_view kOperators[] = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/",
                                           "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                           ">",  "<",  "=",  ".",  ":",  "|",  ",", ";"};

/// Converts line ends to `\n` and drops the one at the end of the template.
std::string with_plain_newlines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (std::size_t at = 0; at < source.size(); ++at) {
    if (source[at] == '\r') {
      if (at + 1 < source.size() && source[at + 1] == '\n') continue;
      out += '\n';
    } else {
      out += source[at];
    }
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(with_plain_newlines(source)) {}

  std::vector<Token> run() {
    while (at_ < source_.size()) lex_text();
    push(Token::Kind::end, "");
    return std::move(tokens_);
  }

 private:
  using Kind = Token::Kind;

  char peek(std::size_t ahead = 0) const {
    return at_ + ahead < source_.size() ? source_[at_ + ahead] : '\0';
  }
  bool looking_at(std::string_view text) const {
    return source_.compare(at_, text.size(), text) == 0;
  }
  std::string_view rest() const { return std::string_view(source_).substr(at_); }

  void push(Kind kind, std::string_view text) {
    tokens_.push_back(Token{kind, std::string(text), 0, 0, line_});
  }

  void advance_to(std::size_t to) {
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(at_),
                                         source_.begin() + static_cast<std::ptrdiff_t>(to), '\n'));
    at_ = to;
  }
  void advance(std::size_t bytes) { advance_to(at_ + bytes); }
  void skip_space() { advance(leading_space(source_, at_)); }

  /// The text before a tag that begins with `sign`, after whitespace control.
  std::string_view before_tag(std::string_view text, char sign, bool is_output) const {
    if (sign == '-') return strip(text, Side::right);
    if (sign == '+' || is_output) return text;
    const std::size_t newline = text.rfind('\n');
    const bool line_starts = at_ == 0 || source_[at_ - 1] == '\n';
    if (newline == npos && !line_starts) return text;
    const std::size_t start = newline == npos ? 0 : newline + 1;
    return strip(text.substr(start), Side::left).empty() ? text.substr(0, start) : text;
  }

  void push_text(std::string_view text) {
    if (!text.empty()) push(Kind::text, text);
  }

  /// Offset of the start of the next tag.
  std::size_t find_tag() const {
    for (std::size_t at = source_.find('{', at_); at != npos; at = source_.find('{', at + 1)) {
      const char next = at + 1 < source_.size() ? source_[at + 1] : '\0';
      if (next == '%' || next == '{' || next == '#') return at;
    }
    return npos;
  }

  void lex_text() {
    const std::size_t begin = find_tag();
    if (begin == npos) {
      push_text(rest());
      return advance_to(source_.size());
    }
    const char kind = source_[begin + 1];
    const char next = begin + 2 < source_.size() ? source_[begin + 2] : '\0';
    const char sign = next == '-' || next == '+' ? next : '\0';
    push_text(before_tag(rest().substr(0, begin - at_), sign, kind == '{'));
    advance_to(begin + (sign != '\0' ? 3 : 2));
    if (kind == '#') {
      skip_comment();
    } else if (kind == '{') {
      lex_tag(Kind::output_begin, Kind::output_end);
    } else if (!lex_raw()) {
      lex_tag(Kind::block_begin, Kind::block_end);
    }
  }

  /// Skips all white space after `-%}`, one newline after `%}`, nothing after `+%}`.
  void skip_after_end(char sign) {
    if (sign == '-') return skip_space();
    if (sign == '\0' && peek() == '\n') advance(1);
  }

  void skip_comment() {
    const int line = line_;
    const std::size_t end = source_.find("#}", at_);
    if (end == npos) fail_at(line, "the comment has no end");
    const char before = end > at_ ? source_[end - 1] : '\0';
    advance_to(end + 2);
    skip_after_end(before == '-' || before == '+' ? before : '\0');
  }

  /// Length of `[-+]? %}` at `at`, 0 if there is none; sets the sign.
  std::size_t block_end_at(std::size_t at, char& sign) const {
    const char c = at < source_.size() ? source_[at] : '\0';
    sign = c == '-' || c == '+' ? c : '\0';
    const std::size_t skip = sign != '\0' ? 1 : 0;
    return source_.compare(at + skip, 2, "%}") == 0 ? skip + 2 : 0;
  }

  /// If the tag whose content begins at `at` consists of `word` alone: the offset after the tag,
  /// and the sign at its end.
  std::size_t lone_word(std::size_t at, std::string_view word, char& sign) const {
    at += leading_space(source_, at);
    if (source_.compare(at, word.size(), word) != 0) return npos;
    at += word.size();
    at += leading_space(source_, at);
    const std::size_t length = at < source_.size() ? block_end_at(at, sign) : 0;
    return length == 0 ? npos : at + length;
  }

  /// Reads `{% raw %}` up to `{% endraw %}`, if it is at the current offset.
  bool lex_raw() {
    char sign = '\0';
    const std::size_t inside = lone_word(at_, "raw", sign);
    if (inside == npos || sign == '+') return false;
    const int line = line_;
    advance_to(inside);
    if (sign == '-') skip_space();
    for (std::size_t begin = source_.find("{%", at_); begin != npos;
         begin = source_.find("{%", begin + 1)) {
      const char next = begin + 2 < source_.size() ? source_[begin + 2] : '\0';
      const char begin_sign = next == '-' || next == '+' ? next : '\0';
      const std::size_t after = lone_word(begin + (begin_sign != '\0' ? 3 : 2), "endraw", sign);
      if (after == npos) continue;
      push_text(before_tag(rest().substr(0, begin - at_), begin_sign, false));
      advance_to(after);
      skip_after_end(sign);
      return true;
    }
    fail_at(line, "raw has no endraw");
  }

  void lex_tag(Kind begin, Kind end) {
    push(begin, "");
    std::string open;  // open brackets; inside them `}}` and `%}` do not end the tag
    while (at_ < source_.size()) {
      if (open.empty() && lex_tag_end(end)) return;
      lex_token(open);
    }
  }

  bool lex_tag_end(Kind end) {
    char sign = '\0';
    std::size_t length = 0;
    if (end == Kind::block_end) {
      length = block_end_at(at_, sign);
    } else if (looking_at("}}") || looking_at("-}}")) {
      sign = peek() == '-' ? '-' : '+';  // without a sign the tag strips no newline
      length = sign == '-' ? 3 : 2;
    }
    if (length == 0) return false;
    push(end, "");
    advance(length);
    skip_after_end(sign);
    return true;
  }

  void lex_token(std::string& open) {
    if (const std::size_t space = leading_space(source_, at_)) return advance(space);
    const char c = peek();
    if (is_digit(c)) return lex_number();
    if (c == '"' || c == '\'') return lex_string();
    if (lex_name()) return;
    for (const std::string_view op : kOperators) {
      if (!looking_at(op)) continue;
      balance(op, open);
      push(Kind::op, op);
      return advance(op.size());
    }
    std::size_t end = at_;
    next_code_point(source_, end);
    fail_at(line_, fmt::format("unexpected character '{}'", rest().substr(0, end - at_)));
  }

  void balance(std::string_view op, std::string& open) const {
    constexpr std::string_view kOpening = "([{", kClosing = ")]}";
    if (const auto opening = kOpening.find(op); opening != npos) open += kClosing[opening];
    if (kClosing.find(op) == npos) return;
    if (open.empty() || open.back() != op[0]) fail_at(line_, fmt::format("unexpected '{}'", op));
    open.pop_back();
  }

  bool lex_name() {
    std::size_t end = at_;
    while (end < source_.size()) {
      std::size_t after = end;
      const char32_t c = next_code_point(source_, after);
      const bool word = c < 0x80 ? c == '_' || is_digit(static_cast<char>(c)) ||
                                       (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
                                 : is_word_char(c);
      if (!word) break;
      end = after;
    }
    if (end == at_) return false;
    push(Kind::name, rest().substr(0, end - at_));
    advance_to(end);
    return true;
  }

  void lex_string() {
    const char quote = peek();
    std::size_t end = at_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) fail_at(line_, "the string has no end");
    push(Kind::string, unescape(rest().substr(1, end - at_ - 1), line_));
    advance_to(end + 1);
  }

  void lex_number() {
    if (const std::size_t length = real_length(source_, at_); length > 0) {
      push(Kind::real, "");
      tokens_.back().real = parse_real(rest().substr(0, length)).value();
      return advance(length);
    }
    push(Kind::integer, "");
    const std::string_view spelling = rest().substr(0, integer_length(source_, at_));
    try {
      tokens_.back().integer = parse_integer(spelling, 0).value();
    } catch (const Error& error) {
      fail_at(line_, error.what());
    }
    advance(spelling.size());
  }

  std::string source_;
  std::vector<Token> tokens_;
  std::size_t at_ = 0;
  int line_ = 1;
};

}  // namespace

void fail_at(int line, std::string_view what) {
  fail("line {}: {}", line, what);
}

std::vector<Token> tokenize(std::string_view source) {
  return Lexer(source).run();
}

}  // namespace moebius::jinja
