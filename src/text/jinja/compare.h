// Equality, order and membership with the semantics of Python's operators.
#pragma once

#include "text/jinja/heap.h"

namespace moebius::jinja {

bool equal(Heap& heap, const Value& a, const Value& b);
/// `a < b`; throws Error for types that have no order.
bool less(Heap& heap, const Value& a, const Value& b);
/// `a op b` for "==", "!=", "<", "<=", ">", ">=", "in", "not in".
bool compare(Heap& heap, std::string_view op, const Value& a, const Value& b);
bool contains(Heap& heap, const Value& container, const Value& element);

/// The entry of a dictionary, null if absent. Throws Error for a key that Python cannot hash.
Value* find_entry(Heap& heap, Dict& dict, const Value& key);
/// Sets or replaces an entry.
void set_entry(Heap& heap, Dict& dict, const Value& key, const Value& value);

}  // namespace moebius::jinja
