// Values of expressions: the types of Python that chat templates use. Values are small and cheap to
// copy; strings and containers are owned by the Heap of the rendering.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace moebius::jinja {

struct Arguments;
struct Dict;
struct Function;
struct List;
struct Loop;

/// An undefined variable, attribute or element. Prints as an empty text; any other use fails.
struct Undefined {
  const char* owner = nullptr;  ///< type of the value without `name`; null for a variable
  std::string_view name;
};
struct None {};

using Value = std::variant<Undefined, None, bool, std::int64_t, double, std::string_view, List*,
                           Dict*, Function*, Loop*>;

/// A list, tuple, range or iterator. An iterator yields each element once and has no length.
struct List {
  enum class Kind { list, tuple, range, keys, values, items, iterator };
  Kind kind = Kind::list;
  std::vector<Value> elements;
  std::size_t taken = 0;   ///< of an iterator: number of elements consumed
  std::string_view label;  ///< printed form of a range or an iterator
};

/// A dictionary in order of insertion. The entries of a namespace are attributes and may be set.
struct Dict {
  std::vector<std::pair<Value, Value>> entries;
  bool is_namespace = false;
};

/// A macro, a global function, or a method bound to its value.
struct Function {
  std::string_view name;
  std::function<Value(const Arguments&)> body;
};

/// The variable `loop`. Elements are computed on demand, since the loop's condition may depend on
/// the effects of its body.
struct Loop {
  const std::vector<Value>* elements = nullptr;  ///< computed so far: those of a list, or `drawn`
  std::vector<Value> drawn;
  std::function<std::optional<Value>()> draw;  ///< computes the next one; empty if all are known
  std::size_t index0 = 0;
  std::optional<std::vector<Value>> last_changed;

  /// Whether element number `index` exists.
  bool reach(std::size_t index);
  std::size_t length();
};

/// Arguments of a call: by position, then by name.
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string_view, Value>> named;
};

template <class T>
bool is(const Value& value) {
  return std::holds_alternative<T>(value);
}
/// The list of a value of this kind, otherwise null.
List* list_of(const Value& value, List::Kind kind);
/// The dictionary of a value, otherwise null, also for a namespace.
Dict* mapping_of(const Value& value);

/// The integer of an int or a bool.
std::optional<std::int64_t> as_integer(const Value& value);
/// The number of an int, a bool or a float.
std::optional<double> as_number(const Value& value);

/// Name of the value's type in Python: "str", "NoneType".
const char* type_name(const Value& value);
/// `bool(value)` of Python.
bool truthy(const Value& value);

/// Throws Error naming what is undefined.
[[noreturn]] void fail_undefined(const Undefined& undefined);
/// Throws it if `value` is undefined.
void require_defined(const Value& value);

}  // namespace moebius::jinja
