#include <algorithm>

#include "base/error.h"
#include "text/jinja/compare.h"
#include "text/jinja/filters.h"
#include "text/jinja/operators.h"
#include "text/jinja/sequence.h"
#include "text/jinja/unicode_text.h"
#include "text/jinja/value_text.h"

namespace moebius::jinja {
namespace {

struct Test {
  std::string_view name;
  std::size_t arguments;
  bool (*body)(Heap& heap, const Value& value, const Bound& other);
};

template <bool wanted>
bool is_bool(Heap&, const Value& value, const Bound&) {
  const auto* boolean = std::get_if<bool>(&value);
  return boolean != nullptr && *boolean == wanted;
}

template <class T>
bool is_type(Heap&, const Value& value, const Bound&) {
  return is<T>(value);
}

/// As in Jinja an undefined value counts as callable; calling it fails.
bool callable(Heap&, const Value& value, const Bound&) {
  return is<Function*>(value) || is<Loop*>(value) || is<Undefined>(value);
}

template <int rest>
bool leaves(Heap& heap, const Value& value, const Bound&) {
  return equal(heap, arithmetic(heap, "%", value, std::int64_t{2}), std::int64_t{rest});
}

bool divisible(Heap& heap, const Value& value, const Bound& other) {
  return equal(heap, arithmetic(heap, "%", value, other[0]), std::int64_t{0});
}

bool defined(Heap&, const Value& value, const Bound&) {
  return !is<Undefined>(value);
}

bool mapping(Heap&, const Value& value, const Bound&) {
  return mapping_of(value) != nullptr;
}

bool number(Heap&, const Value& value, const Bound&) {
  return as_number(value).has_value();
}

bool iterable(Heap&, const Value& value, const Bound&) {
  return is<Undefined>(value) || is<std::string_view>(value) || is<List*>(value) ||
         is<Loop*>(value) || mapping_of(value) != nullptr;
}

/// Whether a value has a length and can be indexed; as in Jinja mappings and undefined values
/// count.
bool sequence(Heap&, const Value& value, const Bound&) {
  List* const* list = std::get_if<List*>(&value);
  return is<std::string_view>(value) || is<Undefined>(value) || mapping_of(value) != nullptr ||
         (list != nullptr && (*list)->kind <= List::Kind::range);
}

template <CharTest test>
bool letters(Heap& heap, const Value& value, const Bound&) {
  return all_are(text_of(heap, value), test);
}

bool same(Heap& heap, const Value& value, const Bound& other) {
  const Value& with = other[0];
  if (value.index() != with.index()) return false;
  if (is<List*>(value)) return std::get<List*>(value) == std::get<List*>(with);
  if (is<Dict*>(value)) return std::get<Dict*>(value) == std::get<Dict*>(with);
  return equal(heap, value, with);
}

bool within(Heap& heap, const Value& value, const Bound& other) {
  return contains(heap, other[0], value);
}

bool names_filter(Heap&, const Value& value, const Bound&) {
  const auto* name = std::get_if<std::string_view>(&value);
  return name != nullptr && is_filter(*name);
}

bool names_test(Heap&, const Value& value, const Bound&) {
  const auto* name = std::get_if<std::string_view>(&value);
  return name != nullptr && is_test(*name);
}

constexpr Test kTests[] = {
    {"boolean", 0, is_type<bool>},
    {"callable", 0, callable},
    {"defined", 0, defined},
    {"divisibleby", 1, divisible},
    {"even", 0, leaves<0>},
    {"false", 0, is_bool<false>},
    {"filter", 0, names_filter},
    {"float", 0, is_type<double>},
    {"in", 1, within},
    {"integer", 0, is_type<std::int64_t>},
    {"iterable", 0, iterable},
    {"lower", 0, letters<CharTest::lower>},
    {"mapping", 0, mapping},
    {"none", 0, is_type<None>},
    {"number", 0, number},
    {"odd", 0, leaves<1>},
    {"sameas", 1, same},
    {"sequence", 0, sequence},
    {"string", 0, is_type<std::string_view>},
    {"test", 0, names_test},
    {"true", 0, is_bool<true>},
    {"undefined", 0, is_type<Undefined>},
    {"upper", 0, letters<CharTest::upper>},
};

/// Tests that are comparisons, and their operators.
constexpr std::pair<std::string_view, std::string_view> kComparisons[] = {
    {"==", "=="}, {"eq", "=="}, {"equalto", "=="},    {"!=", "!="}, {"ne", "!="},
    {">", ">"},   {"gt", ">"},  {"greaterthan", ">"}, {">=", ">="}, {"ge", ">="},
    {"<", "<"},   {"lt", "<"},  {"lessthan", "<"},    {"<=", "<="}, {"le", "<="},
};

const Test* find_test(std::string_view name) {
  const auto at = std::find_if(std::begin(kTests), std::end(kTests),
                               [name](const Test& test) { return test.name == name; });
  return at == std::end(kTests) ? nullptr : at;
}

std::string_view comparison_of(std::string_view name) {
  for (const auto& [test, op] : kComparisons) {
    if (test == name) return op;
  }
  return {};
}

}  // namespace

bool is_test(std::string_view name) {
  return find_test(name) != nullptr || !comparison_of(name).empty();
}

bool apply_test(Heap& heap, std::string_view name, const Value& input, const Arguments& arguments) {
  heap.spend();
  static constexpr Parameters kOne{{"other"}, 1}, kNone{};
  if (const Test* test = find_test(name)) {
    return test->body(heap, input, Bound(name, test->arguments == 1 ? kOne : kNone, arguments));
  }
  const std::string_view op = comparison_of(name);
  if (op.empty()) fail("the test '{}' is not supported", name);
  return compare(heap, op, input, Bound(name, kOne, arguments)[0]);
}

}  // namespace moebius::jinja
