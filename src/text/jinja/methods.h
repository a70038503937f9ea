// Methods of strings, dictionaries and lists, as far as a sandbox lets templates call them: none
// that changes its value.
#pragma once

#include "text/jinja/arguments.h"

namespace moebius::jinja {

struct Method {
  std::string_view name;
  Parameters parameters;
  Value (*body)(Heap& heap, const Value& self, const Bound& arguments);
};

/// The method of `self` with this name, bound to it. Nothing where Python's type has none; a value
/// that is undefined where it has one that a sandbox refuses.
std::optional<Value> method_of(Heap& heap, const Value& self, std::string_view name);
/// Calls it at once; nothing happens and nothing is returned where there is none.
std::optional<Value> call_method(Heap& heap, const Value& self, std::string_view name,
                                 const Arguments& arguments);

/// `loop.cycle` and `loop.changed`.
std::optional<Value> loop_method(Heap& heap, Loop& loop, std::string_view name);

/// Rows of the tables, null where there is none.
const Method* find_text_method(std::string_view name);
const Method* find_container_method(const Value& self, std::string_view name);

}  // namespace moebius::jinja
