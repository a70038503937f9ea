#include "text/jinja/number_text.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>

#include "base/error.h"
#include "text/jinja/unicode_text.h"

namespace moebius::jinja {
namespace {

/// Removes underscores; false unless each is between two digits.
bool drop_underscores(std::string& text) {
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] != '_') continue;
    if (at == 0 || at + 1 == text.size() || digit_value(text[at - 1]) == 36 ||
        digit_value(text[at + 1]) == 36) {
      return false;
    }
  }
  std::erase(text, '_');
  return true;
}

/// Removes a prefix such as `0x` that matches `base`. Returns the base: if `base` is 0, that of the
/// prefix, or 10 without one.
int take_prefix(std::string& digits, int base) {
  const char letter =
      digits.size() > 1 && digits[0] == '0' ? static_cast<char>(digits[1] | 0x20) : '\0';
  const int named = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 0;
  if (named == 0 || (base != 0 && base != named)) return base == 0 ? 10 : base;
  digits.erase(0, 2);
  if (digits.starts_with('_')) digits.erase(0, 1);
  return named;
}

}  // namespace

int digit_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'z') return c - 'a' + 10;
  if (c >= 'A' && c <= 'Z') return c - 'A' + 10;
  return 36;
}

std::string real_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[32];
  const auto end =
      std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific);
  std::string_view spelling(buffer, static_cast<std::size_t>(end.ptr - buffer));
  const std::string sign = spelling.starts_with('-') ? "-" : "";
  spelling.remove_prefix(sign.size());
  const std::size_t e = spelling.find('e');
  const int exponent = std::atoi(std::string(spelling.substr(e + 1)).c_str());
  std::string digits(spelling.substr(0, e));
  std::erase(digits, '.');
  if (exponent < -4 || exponent >= 16) {
    return fmt::format("{}{}{}{}e{:+03}", sign, digits[0], digits.size() > 1 ? "." : "",
                       digits.substr(1), exponent);
  }
  if (exponent < 0) return fmt::format("{}0.{:0>{}}{}", sign, "", -exponent - 1, digits);
  const auto whole = static_cast<std::size_t>(exponent) + 1;
  if (digits.size() <= whole) return fmt::format("{}{:0<{}}.0", sign, digits, whole);
  return fmt::format("{}{}.{}", sign, digits.substr(0, whole), digits.substr(whole));
}

std::optional<std::int64_t> parse_integer(std::string_view text, int base) {
  std::string digits(strip(text));
  bool negative = false;
  if (digits.starts_with('-') || digits.starts_with('+')) {
    negative = digits[0] == '-';
    digits.erase(0, 1);
  }
  const bool any_base = base == 0;
  base = take_prefix(digits, base);
  if (!drop_underscores(digits) || digits.empty() || digit_value(digits[0]) >= base)
    return std::nullopt;
  if (any_base && base == 10 && digits[0] == '0' && digits.find_first_not_of('0') != digits.npos) {
    return std::nullopt;
  }
  if (negative) digits.insert(0, 1, '-');
  std::int64_t value = 0;
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  if (end != digits.data() + digits.size()) return std::nullopt;
  if (error != std::errc()) fail("the integer {} does not fit in 64 bits", text);
  return value;
}

std::optional<double> parse_real(std::string_view text) {
  std::string spelling(strip(text));
  if (!drop_underscores(spelling)) return std::nullopt;
  if (spelling.starts_with('+')) spelling.erase(0, 1);
  if (spelling.starts_with("+") || spelling.starts_with("-+")) return std::nullopt;
  // Python accepts "nan" and "infinity" in any case, but not "nan(...)" or hexadecimal floats.
  if (spelling.find_first_of("xX()") != spelling.npos) return std::nullopt;
  double value = 0;
  const char* last = spelling.data() + spelling.size();
  const auto [end, error] = std::from_chars(spelling.data(), last, value);
  if (end != last || spelling.empty() || error == std::errc::invalid_argument) return std::nullopt;
  // Out of range: strtod returns 0 or infinity.
  return error == std::errc() ? value : std::strtod(spelling.c_str(), nullptr);
}

}  // namespace moebius::jinja
