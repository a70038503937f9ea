#include <algorithm>

#include "base/error.h"
#include "text/jinja/compare.h"
#include "text/jinja/filters.h"
#include "text/jinja/operators.h"
#include "text/jinja/sequence.h"
#include "text/jinja/text_split.h"
#include "text/jinja/value_text.h"

namespace moebius::jinja {
namespace {

Value length(Heap& heap, const Value& input, const Bound&) {
  return length_of(heap, input);
}

/// The first element; consumes it if `value` is an iterator.
Value first(Heap& heap, const Value& input, const Bound&) {
  if (List* iterator = list_of(input, List::Kind::iterator)) {
    if (iterator->taken == iterator->elements.size()) return Undefined{"list object", "first item"};
    return iterator->elements[iterator->taken++];
  }
  const std::vector<Value> elements = elements_of(heap, input);
  return elements.empty() ? Value(Undefined{"list object", "first item"}) : elements.front();
}

Value last(Heap& heap, const Value& input, const Bound&) {
  if (list_of(input, List::Kind::iterator) != nullptr) fail("last: a generator cannot be reversed");
  const std::vector<Value> elements = elements_of(heap, input);
  return elements.empty() ? Value(Undefined{"list object", "last item"}) : elements.back();
}

Value list(Heap& heap, const Value& input, const Bound&) {
  return heap.list(List::Kind::list, elements_of(heap, input));
}

Value reversed(Heap& heap, const Value& input, const Bound&) {
  if (const auto* text = std::get_if<std::string_view>(&input)) {
    return slice_of(heap, *text, None{}, None{}, std::int64_t{-1});
  }
  const bool drawn = list_of(input, List::Kind::iterator) != nullptr;
  std::vector<Value> elements = elements_of(heap, input);
  std::reverse(elements.begin(), elements.end());
  if (drawn) return heap.list(List::Kind::list, std::move(elements));
  return heap.iterator(std::move(elements));
}

Value joined(Heap& heap, const Value& input, const Bound& arguments) {
  const Value separator = arguments.has(0) ? arguments[0] : Value(std::string_view());
  std::vector<std::string_view> parts;
  for (const Value& each : elements_of(heap, input)) {
    parts.push_back(text_of(heap, at_path(heap, each, arguments[1])));
  }
  return join(heap, parts, text_of(heap, separator));
}

Value items(Heap& heap, const Value& input, const Bound&) {
  std::vector<Value> out;
  if (const Dict* dict = mapping_of(input)) {
    for (const auto& [key, value] : dict->entries) out.push_back(pair_of(heap, key, value));
  } else if (!is<Undefined>(input)) {
    fail("items: a dict was expected, not {}", type_name(input));
  }
  return heap.iterator(std::move(out));
}

Value sum(Heap& heap, const Value& input, const Bound& arguments) {
  Value total = arguments.has(1) ? arguments[1] : Value(std::int64_t{0});
  if (is<std::string_view>(total)) fail("sum: strings are joined with join");
  for (const Value& each : elements_of(heap, input)) {
    total = arithmetic(heap, "+", total, at_path(heap, each, arguments[0]));
  }
  return total;
}

/// The arguments that a filter such as `map` passes on to another filter or test.
Arguments rest_of(const Arguments& given, std::size_t skip) {
  Arguments rest{{}, given.named};
  rest.positional.assign(given.positional.begin() + static_cast<std::ptrdiff_t>(skip),
                         given.positional.end());
  return rest;
}

std::string_view name_in(const Bound& arguments, std::size_t index) {
  const auto& given = arguments.given().positional;
  const auto* name = index < given.size() ? std::get_if<std::string_view>(&given[index]) : nullptr;
  if (name == nullptr)
    fail("{} needs the name of a filter, test or attribute", arguments.function());
  return *name;
}

Value map_attribute(Heap& heap, const Value& input, const Bound& arguments) {
  Value path, fallback = None{};
  for (const auto& [name, value] : arguments.given().named) {
    if (name != "attribute" && name != "default") fail("map has no parameter '{}'", name);
    (name == "attribute" ? path : fallback) = value;
  }
  std::vector<Value> out;
  for (const Value& each : elements_of(heap, input)) {
    out.push_back(at_path(heap, each, path));
    if (is<Undefined>(out.back()) && !is<None>(fallback)) out.back() = fallback;
  }
  return heap.iterator(std::move(out));
}

Value map(Heap& heap, const Value& input, const Bound& arguments) {
  if (!truthy(input)) return heap.iterator({});
  const Arguments& given = arguments.given();
  const bool by_attribute =
      given.positional.empty() &&
      std::any_of(given.named.begin(), given.named.end(),
                  [](const auto& argument) { return argument.first == "attribute"; });
  if (by_attribute) return map_attribute(heap, input, arguments);
  const std::string_view name = name_in(arguments, 0);
  const Arguments rest = rest_of(given, 1);
  std::vector<Value> out;
  for (const Value& each : elements_of(heap, input)) {
    out.push_back(apply_filter(heap, name, each, rest));
  }
  return heap.iterator(std::move(out));
}

/// select, reject, selectattr, rejectattr
template <bool wanted, bool by_attribute>
Value chosen(Heap& heap, const Value& input, const Bound& arguments) {
  if (!truthy(input)) return heap.iterator({});
  const Arguments& given = arguments.given();
  const std::size_t skip = by_attribute ? 1 : 0;
  if (given.positional.size() < skip) fail("{} needs an attribute", arguments.function());
  const bool has_test = given.positional.size() > skip;
  const std::string_view test = has_test ? name_in(arguments, skip) : std::string_view();
  const Arguments rest = has_test ? rest_of(given, skip + 1) : Arguments{};
  std::vector<Value> out;
  for (const Value& each : elements_of(heap, input)) {
    heap.spend();
    const Value subject = by_attribute ? at_path(heap, each, given.positional[0]) : each;
    const bool passes = has_test ? apply_test(heap, test, subject, rest) : truthy(subject);
    if (passes == wanted) out.push_back(each);
  }
  return heap.iterator(std::move(out));
}

constexpr Filter kFilters[] = {
    {"count", {}, length},
    {"first", {}, first},
    {"items", {}, items},
    {"join", {{"d", "attribute"}}, joined},
    {"last", {}, last},
    {"length", {}, length},
    {"list", {}, list},
    {"map", {.any = true}, map},
    {"reject", {.any = true}, chosen<false, false>},
    {"rejectattr", {.any = true}, chosen<false, true>},
    {"reverse", {}, reversed},
    {"select", {.any = true}, chosen<true, false>},
    {"selectattr", {.any = true}, chosen<true, true>},
    {"sum", {{"attribute", "start"}}, sum},
};

}  // namespace

std::span<const Filter> sequence_filters() {
  return kFilters;
}

}  // namespace moebius::jinja
