#include <algorithm>

#include "base/error.h"
#include "text/jinja/compare.h"
#include "text/jinja/methods.h"
#include "text/jinja/sequence.h"

namespace moebius::jinja {
namespace {

const std::vector<std::pair<Value, Value>>& entries(const Value& self) {
  return mapping_of(self)->entries;
}

Value get(Heap& heap, const Value& self, const Bound& arguments) {
  const Value* found = find_entry(heap, *mapping_of(self), arguments[0]);
  return found != nullptr ? *found : arguments[1];
}

Value keys(Heap& heap, const Value& self, const Bound&) {
  std::vector<Value> out;
  for (const auto& [key, value] : entries(self)) out.push_back(key);
  return heap.list(List::Kind::keys, std::move(out));
}

Value values(Heap& heap, const Value& self, const Bound&) {
  std::vector<Value> out;
  for (const auto& [key, value] : entries(self)) out.push_back(value);
  return heap.list(List::Kind::values, std::move(out));
}

Value items(Heap& heap, const Value& self, const Bound&) {
  std::vector<Value> out;
  for (const auto& [key, value] : entries(self)) out.push_back(pair_of(heap, key, value));
  return heap.list(List::Kind::items, std::move(out));
}

Value copy(Heap& heap, const Value& self, const Bound&) {
  heap.spend(entries(self).size());
  heap.reserve(entries(self).size() * 2 * sizeof(Value));
  Dict* made = heap.dict();
  made->entries = entries(self);
  return made;
}

const std::vector<Value>& elements(const Value& self) {
  return std::get<List*>(self)->elements;
}

Value count(Heap& heap, const Value& self, const Bound& arguments) {
  const Value wanted = arguments[0];
  return static_cast<std::int64_t>(
      std::count_if(elements(self).begin(), elements(self).end(),
                    [&](const Value& each) { return equal(heap, each, wanted); }));
}

Value index(Heap& heap, const Value& self, const Bound& arguments) {
  const Value wanted = arguments[0];
  const auto at = std::find_if(elements(self).begin(), elements(self).end(),
                               [&](const Value& each) { return equal(heap, each, wanted); });
  if (at == elements(self).end()) fail("index: the value is not in the {}", type_name(self));
  return at - elements(self).begin();
}

Value copy_list(Heap& heap, const Value& self, const Bound&) {
  return heap.list(List::Kind::list, elements(self));
}

constexpr Method kDict[] = {
    {"copy", {}, copy},     {"get", {{"key", "default"}, 1}, get},
    {"items", {}, items},   {"keys", {}, keys},
    {"values", {}, values},
};
constexpr Method kList[] = {
    {"count", {{"value"}, 1}, count},
    {"index", {{"value"}, 1}, index},
    {"copy", {}, copy_list},
};

}  // namespace

const Method* find_container_method(const Value& self, std::string_view name) {
  const auto find_in = [name](const auto& table) -> const Method* {
    const auto at = std::find_if(std::begin(table), std::end(table),
                                 [name](const Method& method) { return method.name == name; });
    return at == std::end(table) ? nullptr : at;
  };
  if (mapping_of(self) != nullptr) return find_in(kDict);
  if (list_of(self, List::Kind::list) != nullptr) return find_in(kList);
  const bool row = list_of(self, List::Kind::tuple) || list_of(self, List::Kind::range);
  return row && name != "copy" ? find_in(kList) : nullptr;
}

}  // namespace moebius::jinja
