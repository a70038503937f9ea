// Methods of strings, dictionaries and lists that Jinja's immutable sandbox allows.
#pragma once

#include "text/jinja/arguments.h"

namespace moebius::jinja {

struct Method {
  std::string_view name;
  Parameters parameters;
  Value (*body)(Heap& heap, const Value& self, const Bound& arguments);
};

/// The method of `self` with this name, bound to it. Nothing if Python's type has no such method;
/// an undefined value if the sandbox refuses it.
std::optional<Value> method_of(Heap& heap, const Value& self, std::string_view name);
/// Calls the method; returns nothing if there is none.
std::optional<Value> call_method(Heap& heap, const Value& self, std::string_view name,
                                 const Arguments& arguments);

/// `loop.cycle` and `loop.changed`.
std::optional<Value> loop_method(Heap& heap, Loop& loop, std::string_view name);

/// The row of the table with this name, null if there is none.
const Method* find_text_method(std::string_view name);
const Method* find_container_method(const Value& self, std::string_view name);

}  // namespace moebius::jinja
