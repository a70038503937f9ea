#include "text/jinja/methods.h"

#include <algorithm>

#include "base/error.h"
#include "text/jinja/compare.h"

namespace moebius::jinja {
namespace {

template <class Names>
bool among(std::string_view name, const Names& names) {
  return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

/// Methods that change their value; Jinja's sandbox refuses them.
bool is_refused(const Value& self, std::string_view name) {
  constexpr std::string_view kDict[] = {"clear", "pop", "popitem", "setdefault", "update"};
  constexpr std::string_view kList[] = {"append", "clear",  "extend",  "insert",
                                        "pop",    "remove", "reverse", "sort"};
  if (mapping_of(self) != nullptr) return among(name, kDict);
  return list_of(self, List::Kind::list) != nullptr && among(name, kList);
}

/// Allowed methods of Python that are not supported.
bool is_unsupported(const Value& self, std::string_view name) {
  constexpr std::string_view kText[] = {"casefold",   "center",      "encode",    "expandtabs",
                                        "format_map", "isascii",     "isdecimal", "isidentifier",
                                        "isnumeric",  "isprintable", "istitle",   "maketrans",
                                        "swapcase",   "translate"};
  if (is<std::string_view>(self)) return among(name, kText);
  return mapping_of(self) != nullptr && name == "fromkeys";
}

const Method* find_method(const Value& self, std::string_view name) {
  return is<std::string_view>(self) ? find_text_method(name) : find_container_method(self, name);
}

}  // namespace

std::optional<Value> method_of(Heap& heap, const Value& self, std::string_view name) {
  if (const Method* method = find_method(self, name)) {
    return heap.function(method->name, [&heap, self, method](const Arguments& arguments) {
      return method->body(heap, self, Bound(method->name, method->parameters, arguments));
    });
  }
  if (is_refused(self, name)) return Undefined{type_name(self), "method that changes it"};
  if (!is_unsupported(self, name)) return std::nullopt;
  return heap.function(name, [name, type = type_name(self)](const Arguments&) -> Value {
    fail("the method '{}' of {} is not supported", name, type);
  });
}

std::optional<Value> call_method(Heap& heap, const Value& self, std::string_view name,
                                 const Arguments& arguments) {
  const Method* method = find_method(self, name);
  if (method == nullptr) return std::nullopt;
  return method->body(heap, self, Bound(method->name, method->parameters, arguments));
}

std::optional<Value> loop_method(Heap& heap, Loop& loop, std::string_view name) {
  if (name == "cycle") {
    return heap.function("cycle", [&loop](const Arguments& arguments) {
      if (arguments.positional.empty()) fail("loop.cycle needs values");
      return arguments.positional[loop.index0 % arguments.positional.size()];
    });
  }
  if (name != "changed") return std::nullopt;
  return heap.function("changed", [&heap, &loop](const Arguments& arguments) -> Value {
    const auto& now = arguments.positional;
    const bool same =
        loop.last_changed &&
        std::equal(now.begin(), now.end(), loop.last_changed->begin(), loop.last_changed->end(),
                   [&](const Value& a, const Value& b) { return equal(heap, a, b); });
    loop.last_changed = now;
    return !same;
  });
}

}  // namespace moebius::jinja
