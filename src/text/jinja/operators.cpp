#include "text/jinja/operators.h"

#include <cmath>
#include <cstdlib>
#include <limits>

#include "base/error.h"
#include "text/jinja/format.h"
#include "text/jinja/text_split.h"

namespace moebius::jinja {
namespace {

[[noreturn]] void fail_types(std::string_view op, const Value& a, const Value& b) {
  require_defined(a);
  require_defined(b);
  fail("'{}' is not defined between {} and {}", op, type_name(a), type_name(b));
}

[[noreturn]] void fail_overflow() {
  fail("an integer beyond 64 bits");
}

std::int64_t floor_divide(std::int64_t a, std::int64_t b) {
  if (b == -1 && a == std::numeric_limits<std::int64_t>::min()) fail_overflow();
  const std::int64_t quotient = a / b;
  return quotient * b != a && (a < 0) != (b < 0) ? quotient - 1 : quotient;
}

std::int64_t modulo(std::int64_t a, std::int64_t b) {
  if (b == -1) return 0;
  const std::int64_t rest = a % b;
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

double modulo(double a, double b) {
  const double rest = std::fmod(a, b);
  if (rest == 0) return std::copysign(0.0, b);
  return (rest < 0) != (b < 0) ? rest + b : rest;
}

double floor_divide(double a, double b) {
  const double rest = std::fmod(a, b);
  double quotient = (a - rest) / b;
  if (rest != 0 && (rest < 0) != (b < 0)) quotient -= 1;
  if (quotient == 0) return std::copysign(0.0, a / b);
  const double low = std::floor(quotient);
  return quotient - low > 0.5 ? low + 1 : low;
}

std::int64_t power(std::int64_t base, std::int64_t exponent) {
  std::int64_t result = 1;
  while (exponent > 0) {
    if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result)) fail_overflow();
    exponent >>= 1;
    if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) fail_overflow();
  }
  return result;
}

double real_power(double base, double exponent) {
  if (base == 0 && exponent < 0) fail("0 cannot be raised to a negative power");
  if (base < 0 && std::isfinite(base) && std::isfinite(exponent) &&
      exponent != std::floor(exponent)) {
    fail("complex numbers are not supported");
  }
  const double result = std::pow(base, exponent);
  if (std::isinf(result) && std::isfinite(base) && std::isfinite(exponent)) {
    fail("the result of '**' is too large");
  }
  return result;
}

Value of_integers(std::string_view op, std::int64_t a, std::int64_t b) {
  std::int64_t result = 0;
  if (op == "+") return __builtin_add_overflow(a, b, &result) ? fail_overflow(), result : result;
  if (op == "-") return __builtin_sub_overflow(a, b, &result) ? fail_overflow(), result : result;
  if (op == "*") return __builtin_mul_overflow(a, b, &result) ? fail_overflow(), result : result;
  if (op == "**") {
    if (b < 0) return real_power(static_cast<double>(a), static_cast<double>(b));
    return power(a, b);
  }
  if (b == 0) fail("division by zero");
  if (op == "/")
    return static_cast<double>(static_cast<long double>(a) / static_cast<long double>(b));
  return op == "//" ? floor_divide(a, b) : modulo(a, b);
}

Value of_reals(std::string_view op, double a, double b) {
  if (op == "+") return a + b;
  if (op == "-") return a - b;
  if (op == "*") return a * b;
  if (op == "**") return real_power(a, b);
  if (b == 0) fail("division by zero");
  if (op == "/") return a / b;
  return op == "//" ? floor_divide(a, b) : modulo(a, b);
}

/// Whether the value is a list or a tuple, which can be concatenated and repeated.
const List* row_of(const Value& value) {
  const List* list = list_of(value, List::Kind::list);
  return list != nullptr ? list : list_of(value, List::Kind::tuple);
}

Value joined(Heap& heap, const List& a, const List& b) {
  heap.require((a.elements.size() + b.elements.size()) * sizeof(Value));
  std::vector<Value> out = a.elements;
  out.insert(out.end(), b.elements.begin(), b.elements.end());
  return heap.list(a.kind, std::move(out));
}

Value repeated(Heap& heap, const List& list, std::int64_t count) {
  std::vector<Value> out;
  std::size_t size = 0;
  if (count > 0 && !list.elements.empty()) {
    if (__builtin_mul_overflow(list.elements.size() * sizeof(Value),
                               static_cast<std::size_t>(count), &size)) {
      size = std::numeric_limits<std::size_t>::max();
    }
    heap.require(size);
    for (std::int64_t i = 0; i < count; ++i) {
      out.insert(out.end(), list.elements.begin(), list.elements.end());
    }
  }
  return heap.list(list.kind, std::move(out));
}

std::optional<Value> of_sequences(Heap& heap, std::string_view op, const Value& a, const Value& b) {
  const auto *s = std::get_if<std::string_view>(&a), *t = std::get_if<std::string_view>(&b);
  const List *l = row_of(a), *m = row_of(b);
  if (op == "+") {
    if (s != nullptr && t != nullptr) return join(heap, {*s, *t}, {});
    if (l != nullptr && m != nullptr && l->kind == m->kind) return joined(heap, *l, *m);
  } else if (op == "*") {
    const auto left = as_integer(a), right = as_integer(b);
    if (s != nullptr && right) return repeat(heap, *s, *right);
    if (t != nullptr && left) return repeat(heap, *t, *left);
    if (l != nullptr && right) return repeated(heap, *l, *right);
    if (m != nullptr && left) return repeated(heap, *m, *left);
  } else if (op == "%" && s != nullptr) {
    return format_percent(heap, *s, b);
  }
  return std::nullopt;
}

}  // namespace

Value arithmetic(Heap& heap, std::string_view op, const Value& a, const Value& b) {
  const auto i = as_integer(a), j = as_integer(b);
  if (i && j) return of_integers(op, *i, *j);
  const auto x = as_number(a), y = as_number(b);
  if (x && y) return of_reals(op, *x, *y);
  if (const auto result = of_sequences(heap, op, a, b)) return *result;
  fail_types(op, a, b);
}

Value signed_value(std::string_view op, const Value& value) {
  if (const auto integer = as_integer(value)) {
    if (op == "+") return *integer;
    if (*integer == std::numeric_limits<std::int64_t>::min()) fail_overflow();
    return -*integer;
  }
  const auto number = as_number(value);
  if (!number) {
    require_defined(value);
    fail("'{}' is not defined for {}", op, type_name(value));
  }
  return op == "+" ? *number : -*number;
}

double round_to(double value, std::int64_t digits) {
  if (!std::isfinite(value) || digits > 323) return value;
  if (digits < -308) return std::copysign(0.0, value);
  if (digits < 0) {
    const double unit = std::pow(10.0, static_cast<double>(-digits));
    return std::nearbyint(value / unit) * unit;
  }
  // printf rounds the exact binary value, half to even.
  const std::string text = fmt::format("{:.{}f}", value, static_cast<int>(digits));
  return std::strtod(text.c_str(), nullptr);
}

}  // namespace moebius::jinja
