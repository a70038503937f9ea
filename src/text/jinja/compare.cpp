#include "text/jinja/compare.h"

#include <algorithm>
#include <compare>

#include "base/error.h"
#include "text/jinja/sequence.h"
#include "text/jinja/unicode_text.h"

namespace moebius::jinja {
namespace {

/// Represents every 64-bit integer and every double exactly.
std::optional<long double> wide_number(const Value& value) {
  if (const auto* number = std::get_if<double>(&value)) return *number;
  if (const auto integer = as_integer(value)) return *integer;
  return std::nullopt;
}
static_assert(std::numeric_limits<long double>::digits >= 63);

bool same_elements(Heap& heap, const List& a, const List& b) {
  if (a.kind != b.kind || a.kind == List::Kind::iterator ||
      a.elements.size() != b.elements.size()) {
    return &a == &b;
  }
  return std::equal(a.elements.begin(), a.elements.end(), b.elements.begin(),
                    [&](const Value& x, const Value& y) { return equal(heap, x, y); });
}

bool same_entries(Heap& heap, Dict& a, Dict& b) {
  if (&a == &b) return true;
  if (a.is_namespace || b.is_namespace || a.entries.size() != b.entries.size()) return false;
  return std::all_of(a.entries.begin(), a.entries.end(), [&](const auto& entry) {
    const Value* other = find_entry(heap, b, entry.first);
    return other != nullptr && equal(heap, entry.second, *other);
  });
}

std::partial_ordering order(Heap& heap, const Value& a, const Value& b, std::string_view op);

std::partial_ordering order_of_lists(Heap& heap, const List& a, const List& b,
                                     std::string_view op) {
  const std::size_t common = std::min(a.elements.size(), b.elements.size());
  for (std::size_t i = 0; i < common; ++i) {
    if (!equal(heap, a.elements[i], b.elements[i])) {
      return order(heap, a.elements[i], b.elements[i], op);
    }
  }
  return a.elements.size() <=> b.elements.size();
}

std::partial_ordering order(Heap& heap, const Value& a, const Value& b, std::string_view op) {
  const Heap::Nested nested(heap);
  heap.spend();
  const auto x = wide_number(a), y = wide_number(b);
  if (x && y) return *x <=> *y;
  const auto *s = std::get_if<std::string_view>(&a), *t = std::get_if<std::string_view>(&b);
  if (s != nullptr && t != nullptr) {
    heap.spend(std::min(s->size(), t->size()) / 64);
    return s->compare(*t) <=> 0;
  }
  for (const List::Kind kind : {List::Kind::list, List::Kind::tuple}) {
    const List *l = list_of(a, kind), *m = list_of(b, kind);
    if (l != nullptr && m != nullptr) return order_of_lists(heap, *l, *m, op);
  }
  require_defined(a);
  require_defined(b);
  fail("'{}' is not defined between {} and {}", op, type_name(a), type_name(b));
}

void require_hashable(const Value& key) {
  const bool tuple = list_of(key, List::Kind::tuple) != nullptr;
  if ((is<List*>(key) && !tuple) || mapping_of(key) != nullptr) {
    fail("a {} cannot be a key", type_name(key));
  }
}

}  // namespace

bool equal(Heap& heap, const Value& a, const Value& b) {
  const Heap::Nested nested(heap);
  heap.spend();
  const auto x = wide_number(a), y = wide_number(b);
  if (x && y) return *x == *y;
  if (a.index() != b.index()) return false;
  if (const auto* text = std::get_if<std::string_view>(&a)) {
    heap.spend(text->size() / 64);
    return *text == std::get<std::string_view>(b);
  }
  if (is<List*>(a)) return same_elements(heap, *std::get<List*>(a), *std::get<List*>(b));
  if (is<Dict*>(a)) return same_entries(heap, *std::get<Dict*>(a), *std::get<Dict*>(b));
  if (is<Function*>(a)) return std::get<Function*>(a) == std::get<Function*>(b);
  if (is<Loop*>(a)) return std::get<Loop*>(a) == std::get<Loop*>(b);
  return true;  // both undefined, or both None
}

bool less(Heap& heap, const Value& a, const Value& b) {
  return order(heap, a, b, "<") < 0;
}

bool contains(Heap& heap, const Value& container, const Value& element) {
  if (const auto* text = std::get_if<std::string_view>(&container)) {
    const auto* part = std::get_if<std::string_view>(&element);
    if (part == nullptr) {
      require_defined(element);
      fail("'in' a str needs a str, not {}", type_name(element));
    }
    heap.spend(text->size() / 64);
    return find(*text, *part) != std::string_view::npos;
  }
  if (Dict* dict = mapping_of(container)) return find_entry(heap, *dict, element) != nullptr;
  const std::vector<Value> elements = elements_of(heap, container);
  return std::any_of(elements.begin(), elements.end(),
                     [&](const Value& each) { return equal(heap, each, element); });
}

bool compare(Heap& heap, std::string_view op, const Value& a, const Value& b) {
  if (op == "==") return equal(heap, a, b);
  if (op == "!=") return !equal(heap, a, b);
  if (op == "in") return contains(heap, b, a);
  if (op == "not in") return !contains(heap, b, a);
  const std::partial_ordering result = order(heap, a, b, op);
  if (op == "<") return result < 0;
  if (op == "<=") return result <= 0;
  return op == ">" ? result > 0 : result >= 0;
}

Value* find_entry(Heap& heap, Dict& dict, const Value& key) {
  require_hashable(key);
  if (const auto* text = std::get_if<std::string_view>(&key)) {
    heap.spend(dict.entries.size() / 8);
    for (auto& [name, value] : dict.entries) {
      const auto* other = std::get_if<std::string_view>(&name);
      if (other != nullptr && *other == *text) return &value;
    }
    return nullptr;
  }
  for (auto& [name, value] : dict.entries) {
    if (equal(heap, name, key)) return &value;
  }
  return nullptr;
}

void set_entry(Heap& heap, Dict& dict, const Value& key, const Value& value) {
  if (Value* found = find_entry(heap, dict, key)) {
    *found = value;
    return;
  }
  heap.reserve(sizeof(dict.entries[0]));
  dict.entries.emplace_back(key, value);
}

}  // namespace moebius::jinja
