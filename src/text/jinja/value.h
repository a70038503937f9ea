// What an expression of a template stands for: Python's values as far as chat templates use them.
// Values are small and copied freely; strings and containers belong to the rendering's Heap.
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

/// The absence of a variable, an attribute or an element. Prints as nothing; any other use fails.
struct Undefined {
  const char* owner = nullptr;  ///< type of what lacks `name`; null for a variable
  std::string_view name;
};
struct None {};

using Value = std::variant<Undefined, None, bool, std::int64_t, double, std::string_view, List*,
                           Dict*, Function*, Loop*>;

/// Everything with elements in a row. An iterator yields each element once and has no length.
struct List {
  enum class Kind { list, tuple, range, keys, values, items, iterator };
  Kind kind = Kind::list;
  std::vector<Value> elements;
  std::size_t taken = 0;   ///< of an iterator: elements that were drawn already
  std::string_view label;  ///< how a range or an iterator prints
};

/// In order of insertion. A namespace is one whose entries are attributes and may be set.
struct Dict {
  std::vector<std::pair<Value, Value>> entries;
  bool is_namespace = false;
};

/// A macro, a global function, or a method bound to its value.
struct Function {
  std::string_view name;
  std::function<Value(const Arguments&)> body;
};

/// The variable `loop`. Elements are drawn only as far as somebody looks, for the loop's condition
/// may depend on what its body did.
struct Loop {
  const std::vector<Value>* elements = nullptr;  ///< known so far: those of a list, or `drawn`
  std::vector<Value> drawn;
  std::function<std::optional<Value>()> draw;  ///< the next one; empty where all are known
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
/// The list that a value is if it is of this kind, else null.
List* list_of(const Value& value, List::Kind kind);
/// The dictionary that a value is, else null; a namespace is none.
Dict* mapping_of(const Value& value);

/// The integer that an int or a bool is.
std::optional<std::int64_t> as_integer(const Value& value);
/// The number that an int, a bool or a float is.
std::optional<double> as_number(const Value& value);

/// Name of the value's type, as Python has it: "str", "NoneType".
const char* type_name(const Value& value);
/// What Python's `bool(value)` gives.
bool truthy(const Value& value);

/// Fails with the message of an undefined value: what isn't there.
[[noreturn]] void fail_undefined(const Undefined& undefined);
/// Does so if `value` is undefined.
void require_defined(const Value& value);

}  // namespace moebius::jinja
