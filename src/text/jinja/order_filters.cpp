#include <algorithm>

#include "base/error.h"
#include "text/jinja/compare.h"
#include "text/jinja/filters.h"
#include "text/jinja/sequence.h"
#include "text/jinja/unicode_text.h"

namespace moebius::jinja {
namespace {

/// Sort key of an element: the value at `path`, in lower case unless the order is case-sensitive.
Value key_of(Heap& heap, const Value& element, const Value& path, bool case_sensitive) {
  const Value value = at_path(heap, element, path);
  const auto* text = std::get_if<std::string_view>(&value);
  if (text == nullptr || case_sensitive) return value;
  heap.spend(text->size() / 8);
  return heap.text(lower(*text));
}

/// Sort key of several attributes, separated by commas: a list of values.
Value keys_of(Heap& heap, const Value& element, const Value& paths, bool case_sensitive) {
  std::vector<Value> keys;
  const auto* text = std::get_if<std::string_view>(&paths);
  if (text == nullptr) {
    keys.push_back(key_of(heap, element, paths, case_sensitive));
  } else {
    for (std::size_t at = 0; at <= text->size();) {
      const std::size_t end = std::min(text->find(',', at), text->size());
      keys.push_back(key_of(heap, element, text->substr(at, end - at), case_sensitive));
      at = end + 1;
    }
  }
  return heap.list(List::Kind::list, std::move(keys));
}

using Keyed = std::vector<std::pair<Value, Value>>;  // key, element

std::vector<Value> sorted(Heap& heap, Keyed keyed, bool reverse) {
  std::stable_sort(keyed.begin(), keyed.end(), [&](const auto& a, const auto& b) {
    return reverse ? less(heap, b.first, a.first) : less(heap, a.first, b.first);
  });
  std::vector<Value> out;
  for (const auto& [key, element] : keyed) out.push_back(element);
  return out;
}

Value sort(Heap& heap, const Value& input, const Bound& arguments) {
  Keyed keyed;
  for (const Value& each : elements_of(heap, input)) {
    keyed.emplace_back(keys_of(heap, each, arguments[2], arguments.truth(1, false)), each);
  }
  return heap.list(List::Kind::list, sorted(heap, std::move(keyed), arguments.truth(0, false)));
}

Value dictsort(Heap& heap, const Value& input, const Bound& arguments) {
  const Dict* dict = mapping_of(input);
  if (dict == nullptr) {
    require_defined(input);
    fail("dictsort: a dict was expected, not {}", type_name(input));
  }
  const std::string_view by = arguments.text_or(1, "key");
  if (by != "key" && by != "value") fail("dictsort: sorts by 'key' or 'value'");
  Keyed keyed;
  for (const auto& [key, value] : dict->entries) {
    keyed.emplace_back(key_of(heap, by == "key" ? key : value, None{}, arguments.truth(0, false)),
                       pair_of(heap, key, value));
  }
  return heap.list(List::Kind::list, sorted(heap, std::move(keyed), arguments.truth(2, false)));
}

Value unique(Heap& heap, const Value& input, const Bound& arguments) {
  Dict seen;
  std::vector<Value> out;
  for (const Value& each : elements_of(heap, input)) {
    const Value key = key_of(heap, each, arguments[1], arguments.truth(0, false));
    if (find_entry(heap, seen, key) != nullptr) continue;
    set_entry(heap, seen, key, None{});
    out.push_back(each);
  }
  return heap.iterator(std::move(out));
}

template <bool largest>
Value extreme(Heap& heap, const Value& input, const Bound& arguments) {
  const std::vector<Value> elements = elements_of(heap, input);
  if (elements.empty()) return Undefined{"list object", "extreme item"};
  const auto key = [&](const Value& each) {
    return key_of(heap, each, arguments[1], arguments.truth(0, false));
  };
  Value best = elements[0], best_key = key(best);
  for (std::size_t i = 1; i < elements.size(); ++i) {
    const Value next_key = key(elements[i]);
    const bool better = largest ? less(heap, best_key, next_key) : less(heap, next_key, best_key);
    if (better) best = elements[i], best_key = next_key;
  }
  return best;
}

constexpr Filter kFilters[] = {
    {"dictsort", {{"case_sensitive", "by", "reverse"}}, dictsort},
    {"max", {{"case_sensitive", "attribute"}}, extreme<true>},
    {"min", {{"case_sensitive", "attribute"}}, extreme<false>},
    {"sort", {{"reverse", "case_sensitive", "attribute"}}, sort},
    {"unique", {{"case_sensitive", "attribute"}}, unique},
};

}  // namespace

std::span<const Filter> order_filters() {
  return kFilters;
}

}  // namespace moebius::jinja
