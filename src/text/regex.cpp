#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/regex.h"

#include <algorithm>

#include <pcre2.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/unicode.h"
#include "base/utf8.h"

namespace moebius {
namespace {

constexpr std::string_view kSpace = "\\p{Z}\\x{9}-\\x{d}\\x{85}";
constexpr std::string_view kHex = "0-9A-Fa-f";

/// The part of an expression that an error message shows.
std::string shown(std::string_view expression) {
  constexpr std::size_t kShown = 200;
  if (expression.size() <= kShown) return std::string(expression);
  return replace_invalid_utf8(expression.substr(0, kShown)) + "...";
}

/// The name in the braces that `text` begins with; empty if they don't close.
std::string_view property_in(std::string_view text) {
  const std::size_t end = text.find('}');
  return end == std::string_view::npos ? "" : text.substr(1, end - 1);
}

/// Translates an expression of Oniguruma in Ruby's syntax, which Hugging Face's library uses, to
/// PCRE2. Throws Error for what PCRE2 cannot express.
std::string from_oniguruma(std::string_view expression, const std::string& where) {
  std::string out;
  bool in_class = false;
  const auto set = [&](std::string_view members, bool negated) {
    if (!in_class) out += negated ? "[^" : "[";
    out += members;
    if (!in_class) out += ']';
  };
  for (std::size_t i = 0; i < expression.size(); ++i) {
    const char c = expression[i];
    const char next = i + 1 < expression.size() ? expression[i + 1] : '\0';
    if (c == '\\') {
      ++i;
      const std::string_view rest = expression.substr(std::min(i + 1, expression.size()));
      if (next == 's' || (next == 'S' && !in_class)) {
        set(kSpace, next == 'S');
      } else if ((next == 'p' || (next == 'P' && !in_class)) && rest.starts_with('{') &&
                 !newer_members(property_in(rest)).empty()) {
        const std::string_view property = property_in(rest);
        set(fmt::format("\\p{{{}}}{}", property, newer_members(property)), next == 'P');
        i += property.size() + 2;
      } else if (next == 'd' || (next == 'D' && !in_class)) {
        set("\\p{Nd}" + newer_members("Nd"), next == 'D');
      } else if (next == 'w' || (next == 'W' && !in_class)) {
        set(word_members(in_class), next == 'W');
      } else if ((next == 'b' || next == 'B') && !in_class) {
        const char same = next == 'b' ? '!' : '=', other = next == 'b' ? '=' : '!';
        out += fmt::format("(?:(?<=[{0}])(?{1}[{0}])|(?<![{0}])(?{2}[{0}]))", word_members(false),
                           same, other);
      } else if (next == 'h' || (next == 'H' && !in_class)) {
        set(kHex, next == 'H');
      } else {
        out += c;
        if (next != '\0') out += next;
      }
      continue;
    }
    if (in_class && ((c == '[' && next != ':') || (c == '&' && next == '&'))) {
      fail("{}: the regular expression {} has a nested or intersected set, which is not supported",
           where, shown(expression));
    }
    if (in_class && c == '[') {  // a POSIX name, up to its own bracket
      const std::size_t end = expression.find(":]", i);
      if (end != std::string_view::npos) {
        out += expression.substr(i, end + 2 - i);
        i = end + 1;
        continue;
      }
    }
    out += c;
    if (c == '[' && !in_class) {
      in_class = true;
      if (next == '^') out += next, ++i;
      // A bracket directly after the opening one is a member.
      if (i + 1 < expression.size() && expression[i + 1] == ']') out += "\\]", ++i;
    } else if (c == ']') {
      in_class = false;
    }
  }
  return out;
}

std::string describe(int error) {
  PCRE2_UCHAR text[160];
  pcre2_get_error_message(error, text, sizeof text);
  return reinterpret_cast<const char*>(text);
}

std::shared_ptr<const void> compile(const std::string& expression, const std::string& where) {
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* code = pcre2_compile(
      reinterpret_cast<PCRE2_SPTR>(expression.data()), expression.size(),
      // In Ruby's syntax ^ and $ always match at line ends.
      PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error, &offset, nullptr);
  if (code == nullptr) {
    fail("{}: malformed regular expression {} at {}: {}", where, shown(expression), offset,
         describe(error));
  }
  // Without a JIT compiler for this machine PCRE2 interprets the expression.
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
  return {code,
          [](const void* p) { pcre2_code_free(static_cast<pcre2_code*>(const_cast<void*>(p))); }};
}

/// Limits on backtracking and on memory for one match. Nearly every match stays within the first
/// limits; the number of those that may use the second is limited too, since there may be one at
/// every position of the text.
constexpr std::uint32_t kFewSteps = 100'000, kSteps = 10'000'000;
constexpr std::size_t kLongMatches = 16;

std::shared_ptr<const void> make_limits(std::uint32_t steps) {
  constexpr std::uint32_t kHeapKiB = 256 << 10;
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
  if (context == nullptr) throw std::bad_alloc();
  pcre2_set_match_limit(context, steps);
  pcre2_set_heap_limit(context, kHeapKiB);
  return {context, [](const void* p) {
            pcre2_match_context_free(static_cast<pcre2_match_context*>(const_cast<void*>(p)));
          }};
}

}  // namespace

Pattern Pattern::load(const JsonView& part, std::string_view key) {
  const JsonView pattern = part.object(key);
  if (pattern.has("String")) return literal(pattern.string("String"));
  if (pattern.has("Regex")) return regex(pattern.string("Regex"), pattern.where());
  part.fail_key(key, "holds neither \"String\" nor \"Regex\"");
}

Pattern Pattern::literal(std::string text) {
  if (text.empty()) return regex("", "an empty pattern");
  Pattern out;
  out.name_ = fmt::format("the pattern {}", shown(text));
  out.text_ = std::move(text);
  return out;
}

Pattern Pattern::regex(std::string_view expression, const std::string& where) {
  Pattern out;
  out.name_ = fmt::format("{}: the regular expression {}", where, shown(expression));
  out.code_ = compile(from_oniguruma(expression, where), where);
  out.few_steps_ = make_limits(kFewSteps);
  out.steps_ = make_limits(kSteps);
  return out;
}

void Pattern::each_match(std::string_view text,
                         const std::function<void(std::size_t, std::size_t)>& match) const {
  if (!code_) {
    for (std::size_t at = 0; (at = text.find(text_, at)) != std::string_view::npos;) {
      match(at, at + text_.size());
      at += text_.size();
    }
    return;
  }
  const auto* code = static_cast<const pcre2_code*>(code_.get());
  const std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> data(
      pcre2_match_data_create_from_pattern(code, nullptr), &pcre2_match_data_free);
  if (!data) throw std::bad_alloc();
  const auto subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  const auto match_from = [&](std::size_t at, const std::shared_ptr<const void>& limits) {
    auto* context = static_cast<pcre2_match_context*>(const_cast<void*>(limits.get()));
    const int found =
        pcre2_match(code, subject, text.size(), at, PCRE2_NO_UTF_CHECK, data.get(), context);
    if (found != PCRE2_ERROR_JIT_STACKLIMIT) return found;
    // The interpreter allocates on the heap.
    return pcre2_match(code, subject, text.size(), at, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                       data.get(), context);
  };
  std::size_t last_end = npos, long_matches = 0;
  for (std::size_t at = 0; at <= text.size();) {
    int found = match_from(at, few_steps_);
    if (found == PCRE2_ERROR_MATCHLIMIT && long_matches++ < kLongMatches) {
      found = match_from(at, steps_);
    }
    if (found == PCRE2_ERROR_NOMATCH) return;
    if (found < 0) fail("{} cannot be matched with the text: {}", name_, describe(found));
    const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(data.get());
    const std::size_t begin = bounds[0], end = bounds[1];
    if (begin != end || end != last_end) match(begin, last_end = end);
    at = end;
    if (begin == end) {
      if (at == text.size()) return;
      next_code_point(text, at);
    }
  }
}

std::string Pattern::replace(std::string_view text, std::string_view content) const {
  const std::size_t limit = std::max<std::size_t>(text.size(), 1 << 20);
  std::string out;
  std::size_t from = 0;
  each_match(text, [&](std::size_t begin, std::size_t end) {
    out.append(text.substr(from, begin - from)).append(content);
    if (out.size() > limit) fail("{} is replaced by more than {} bytes", name_, limit);
    from = end;
  });
  return out.append(text.substr(from));
}

}  // namespace moebius
