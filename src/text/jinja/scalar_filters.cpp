#include <cmath>

#include "base/error.h"
#include "text/jinja/filters.h"
#include "text/jinja/number_text.h"
#include "text/jinja/operators.h"
#include "text/jinja/sequence.h"

namespace moebius::jinja {
namespace {

Value defaulted(Heap&, const Value& input, const Bound& arguments) {
  const bool missing = is<Undefined>(input) || (arguments.truth(1, false) && !truthy(input));
  if (!missing) return input;
  return arguments.has(0) ? arguments[0] : Value(std::string_view());
}

std::optional<std::int64_t> truncated(double number) {
  if (!std::isfinite(number)) return std::nullopt;
  if (!(std::abs(number) < 0x1p63)) fail("an integer beyond 64 bits");
  return static_cast<std::int64_t>(number);
}

Value integer(Heap&, const Value& input, const Bound& arguments) {
  require_defined(input);
  const Value fallback = arguments.has(0) ? arguments[0] : Value(std::int64_t{0});
  std::optional<std::int64_t> found = as_integer(input);
  if (const auto* text = std::get_if<std::string_view>(&input)) {
    const std::int64_t base = arguments.integer(1, 10);
    if (base == 0 || (base >= 2 && base <= 36))
      found = parse_integer(*text, static_cast<int>(base));
    // "42.9" gives 42.
    const auto number = found ? std::nullopt : parse_real(*text);
    if (number) found = truncated(*number);
  } else if (const auto* number = std::get_if<double>(&input)) {
    found = truncated(*number);
  }
  return found ? Value(*found) : fallback;
}

Value real(Heap&, const Value& input, const Bound& arguments) {
  require_defined(input);
  std::optional<double> found = as_number(input);
  if (const auto* text = std::get_if<std::string_view>(&input)) found = parse_real(*text);
  if (found) return *found;
  return arguments.has(0) ? arguments[0] : Value(0.0);
}

Value absolute(Heap&, const Value& input, const Bound&) {
  if (const auto* number = std::get_if<double>(&input)) return std::fabs(*number);
  const Value positive = signed_value("+", input);
  return std::get<std::int64_t>(positive) < 0 ? signed_value("-", input) : positive;
}

Value rounded(Heap&, const Value& input, const Bound& arguments) {
  const std::string_view method = arguments.text_or(1, "common");
  const std::int64_t precision = arguments.integer(0, 0);
  if (method != "common" && method != "ceil" && method != "floor") {
    fail("round: the method is 'common', 'ceil' or 'floor'");
  }
  const auto number = as_number(input);
  if (!number) {
    require_defined(input);
    fail("round: a number was expected, not {}", type_name(input));
  }
  if (method == "common") {
    const double value = round_to(*number, precision);
    const auto exact = as_integer(input);
    if (!exact) return value;
    return precision >= 0 ? *exact : static_cast<std::int64_t>(value);
  }
  const double unit = std::pow(10.0, static_cast<double>(precision));
  const double scaled = *number * unit;
  if (!std::isfinite(scaled)) fail("round: the number is too large");
  return (method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / unit;
}

constexpr Filter kFilters[] = {
    {"abs", {}, absolute},
    {"d", {{"default_value", "boolean"}}, defaulted},
    {"default", {{"default_value", "boolean"}}, defaulted},
    {"float", {{"default"}}, real},
    {"int", {{"default", "base"}}, integer},
    {"round", {{"precision", "method"}}, rounded},
};

}  // namespace

std::span<const Filter> scalar_filters() {
  return kFilters;
}

}  // namespace moebius::jinja
