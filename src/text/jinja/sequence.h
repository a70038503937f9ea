// Elements, attributes, items and slices of values.
#pragma once

#include "text/jinja/heap.h"

namespace moebius::jinja {

/// The elements that a loop over the value visits; consumes an iterator. Throws Error for values
/// that cannot be iterated.
std::vector<Value> elements_of(Heap& heap, const Value& value);
/// `len(value)`.
std::int64_t length_of(Heap& heap, const Value& value);

/// `value.name`: a method, or else an entry; undefined if there is neither.
Value attribute_of(Heap& heap, const Value& value, std::string_view name);
/// `value[key]`: an element or entry, or else a method; undefined if there is neither.
Value item_of(Heap& heap, const Value& value, const Value& key);
/// `value[from:to:step]`; absent parts are None.
Value slice_of(Heap& heap, const Value& value, const Value& from, const Value& to,
               const Value& step);
/// The value at a path such as "function.name" or "0.text".
Value at_path(Heap& heap, Value value, const Value& path);

/// A tuple of two.
Value pair_of(Heap& heap, const Value& first, const Value& second);

}  // namespace moebius::jinja
