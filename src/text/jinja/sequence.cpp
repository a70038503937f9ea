#include "text/jinja/sequence.h"

#include <algorithm>

#include "base/error.h"
#include "text/jinja/compare.h"
#include "text/jinja/methods.h"
#include "text/jinja/number_text.h"
#include "text/jinja/unicode_text.h"

namespace moebius::jinja {
namespace {

/// Name of `value` in a message about its missing attribute, as in Jinja.
const char* owner_name(const Value& value) {
  if (is<None>(value)) return "None";
  if (mapping_of(value) != nullptr) return "dict object";
  if (is<std::string_view>(value)) return "str object";
  if (is<List*>(value)) return "list object";
  return type_name(value);
}

Value element_at(const List& list, std::int64_t index, const Value& owner) {
  const auto count = static_cast<std::int64_t>(list.elements.size());
  const bool indexable = list.kind == List::Kind::list || list.kind == List::Kind::tuple ||
                         list.kind == List::Kind::range;
  if (index < 0) index += count;
  if (!indexable || index < 0 || index >= count)
    return Undefined{owner_name(owner), "such element"};
  return list.elements[static_cast<std::size_t>(index)];
}

Value character_at(Heap& heap, std::string_view text, std::int64_t index) {
  heap.spend(text.size() / 64);
  const std::int64_t count = length_of(text);
  if (index < 0) index += count;
  if (index < 0 || index >= count) return Undefined{"str object", "such element"};
  const std::size_t from = offset_of(text, index), to = from + offset_of(text.substr(from), 1);
  return text.substr(from, to - from);
}

/// Attributes of `loop`, such as `loop.index`.
std::optional<Value> loop_attribute(Heap& heap, Loop& loop, std::string_view name) {
  const auto index0 = static_cast<std::int64_t>(loop.index0);
  const auto length = [&] { return static_cast<std::int64_t>(loop.length()); };
  if (name == "index0") return index0;
  if (name == "index") return index0 + 1;
  if (name == "first") return index0 == 0;
  if (name == "last") return !loop.reach(loop.index0 + 1);
  if (name == "length") return length();
  if (name == "revindex") return length() - index0;
  if (name == "revindex0") return length() - index0 - 1;
  if (name == "depth") return std::int64_t{1};  // recursive loops are not supported
  if (name == "depth0") return std::int64_t{0};
  if (name == "previtem") {
    if (loop.index0 == 0) return Undefined{"loop", "previous item"};
    return (*loop.elements)[loop.index0 - 1];
  }
  if (name == "nextitem") {
    if (!loop.reach(loop.index0 + 1)) return Undefined{"loop", "next item"};
    return (*loop.elements)[loop.index0 + 1];
  }
  return loop_method(heap, loop, name);
}

std::optional<std::int64_t> slice_part(const Value& part) {
  if (is<None>(part)) return std::nullopt;
  const auto integer = as_integer(part);
  if (!integer) fail("a slice needs integers, not {}", type_name(part));
  return integer;
}

/// Indices of the elements that a slice of `count` elements takes, in order.
std::vector<std::size_t> slice_indices(std::int64_t count, const Value& from, const Value& to,
                                       const Value& by) {
  const auto start_part = slice_part(from), stop_part = slice_part(to);
  const std::int64_t step = slice_part(by).value_or(1);
  if (step == 0) fail("the step of a slice cannot be 0");
  const std::int64_t low = step > 0 ? 0 : -1, high = step > 0 ? count : count - 1;
  const auto clamp = [&](std::int64_t index) {
    if (index < 0) index += count;
    return std::clamp(index, low, high);
  };
  const std::int64_t start = start_part ? clamp(*start_part) : step > 0 ? low : high;
  const std::int64_t stop = stop_part ? clamp(*stop_part) : step > 0 ? high : low;
  std::vector<std::size_t> indices;
  for (std::int64_t i = start; step > 0 ? i < stop : i > stop;) {
    indices.push_back(static_cast<std::size_t>(i));
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  return indices;
}

Value slice_of_text(Heap& heap, std::string_view text, const Value& from, const Value& to,
                    const Value& step) {
  heap.spend(text.size() / 16);
  const bool plain = is<None>(step) || as_integer(step) == 1;
  if (plain) {
    const std::int64_t count = length_of(text);
    const auto edge = [&](const Value& part, std::int64_t fallback) {
      std::int64_t index = slice_part(part).value_or(fallback);
      if (index < 0) index += count;
      return std::clamp<std::int64_t>(index, 0, count);
    };
    const std::int64_t start = edge(from, 0), stop = std::max(start, edge(to, count));
    const std::size_t begin = offset_of(text, start);
    return text.substr(begin, offset_of(text.substr(begin), stop - start));
  }
  heap.reserve(text.size() * sizeof(std::string_view));
  const std::vector<std::string_view> letters = characters(text);
  std::string out;
  for (const std::size_t index :
       slice_indices(static_cast<std::int64_t>(letters.size()), from, to, step)) {
    out += letters[index];
  }
  return heap.text(std::move(out));
}

}  // namespace

std::vector<Value> elements_of(Heap& heap, const Value& value) {
  std::vector<Value> out;
  if (is<Undefined>(value)) return out;
  if (const auto* text = std::get_if<std::string_view>(&value)) {
    heap.reserve(text->size() * sizeof(Value));
    heap.spend(text->size() / 4);
    for (const std::string_view each : characters(*text)) out.emplace_back(each);
  } else if (Dict* dict = mapping_of(value)) {
    heap.spend(dict->entries.size());
    for (const auto& entry : dict->entries) out.push_back(entry.first);
  } else if (List* const* list = std::get_if<List*>(&value)) {
    heap.spend((*list)->elements.size());
    out.assign((*list)->elements.begin() + static_cast<std::ptrdiff_t>((*list)->taken),
               (*list)->elements.end());
    if ((*list)->kind == List::Kind::iterator) (*list)->taken = (*list)->elements.size();
  } else {
    fail("a {} cannot be iterated", type_name(value));
  }
  return out;
}

std::int64_t length_of(Heap& heap, const Value& value) {
  if (is<Undefined>(value)) return 0;
  if (const auto* text = std::get_if<std::string_view>(&value)) {
    heap.spend(text->size() / 64);
    return length_of(*text);
  }
  if (const Dict* dict = mapping_of(value)) return static_cast<std::int64_t>(dict->entries.size());
  if (Loop* const* loop = std::get_if<Loop*>(&value)) {
    return static_cast<std::int64_t>((*loop)->length());
  }
  List* const* list = std::get_if<List*>(&value);
  if (list == nullptr || (*list)->kind == List::Kind::iterator) {
    fail("a {} has no length", type_name(value));
  }
  return static_cast<std::int64_t>((*list)->elements.size());
}

Value attribute_of(Heap& heap, const Value& value, std::string_view name) {
  require_defined(value);
  if (Loop* const* loop = std::get_if<Loop*>(&value)) {
    if (const auto found = loop_attribute(heap, **loop, name)) return *found;
  } else if (const auto method = method_of(heap, value, name)) {
    return *method;
  }
  if (Dict* const* dict = std::get_if<Dict*>(&value)) {
    if (const Value* found = find_entry(heap, **dict, name)) return *found;
  }
  return Undefined{owner_name(value), name};
}

Value item_of(Heap& heap, const Value& value, const Value& key) {
  require_defined(value);
  const auto index = as_integer(key);
  if (const auto* text = std::get_if<std::string_view>(&value); text != nullptr && index) {
    return character_at(heap, *text, *index);
  }
  if (List* const* list = std::get_if<List*>(&value); list != nullptr && index) {
    return element_at(**list, *index, value);
  }
  if (Dict* dict = mapping_of(value)) {
    const bool hashable = !is<List*>(key) || list_of(key, List::Kind::tuple) != nullptr;
    const Value* found =
        hashable && mapping_of(key) == nullptr ? find_entry(heap, *dict, key) : nullptr;
    if (found != nullptr) return *found;
  }
  if (const auto* name = std::get_if<std::string_view>(&key)) {
    return attribute_of(heap, value, *name);
  }
  return Undefined{owner_name(value), "such element"};
}

Value slice_of(Heap& heap, const Value& value, const Value& from, const Value& to,
               const Value& step) {
  require_defined(value);
  if (const auto* text = std::get_if<std::string_view>(&value)) {
    return slice_of_text(heap, *text, from, to, step);
  }
  List* const* list = std::get_if<List*>(&value);
  if (list == nullptr || (*list)->kind > List::Kind::range) {
    fail("a {} cannot be sliced", type_name(value));
  }
  std::vector<Value> out;
  for (const std::size_t index :
       slice_indices(static_cast<std::int64_t>((*list)->elements.size()), from, to, step)) {
    out.push_back((*list)->elements[index]);
  }
  return heap.list((*list)->kind, std::move(out));
}

Value at_path(Heap& heap, Value value, const Value& path) {
  const auto* text = std::get_if<std::string_view>(&path);
  if (text == nullptr) return is<None>(path) ? value : item_of(heap, value, path);
  for (std::size_t at = 0; at <= text->size();) {
    const std::size_t end = std::min(text->find('.', at), text->size());
    const std::string_view part = text->substr(at, end - at);
    const bool digits = all_are(part, CharTest::digit);
    value = item_of(heap, value, digits ? Value(parse_integer(part, 10).value_or(0)) : Value(part));
    at = end + 1;
  }
  return value;
}

Value pair_of(Heap& heap, const Value& first, const Value& second) {
  return heap.list(List::Kind::tuple, {first, second});
}

}  // namespace moebius::jinja
