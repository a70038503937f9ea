// Binding of the arguments of a call to parameters, by position and name.
#pragma once

#include <array>
#include <string_view>

#include "text/jinja/heap.h"

namespace moebius::jinja {

/// Parameter names of a filter, test, method or global function; at most four.
struct Parameters {
  std::array<std::string_view, 4> names{};
  std::size_t required = 0;
  bool any = false;  ///< accepts any arguments; the callee reads them itself
};

/// The arguments in the order of the parameters.
class Bound {
 public:
  /// Throws Error naming `function` for one too many, an unknown name or a missing one.
  Bound(std::string_view function, const Parameters& parameters, const Arguments& arguments);

  bool has(std::size_t index) const { return values_[index].has_value(); }
  /// The argument, or None if it was not given.
  Value operator[](std::size_t index) const { return values_[index].value_or(None{}); }
  bool truth(std::size_t index, bool fallback) const;
  /// Throws Error if the argument has another type.
  std::int64_t integer(std::size_t index, std::int64_t fallback) const;
  std::string_view text(std::size_t index) const;
  std::string_view text_or(std::size_t index, std::string_view fallback) const;
  /// All arguments as they were passed.
  const Arguments& given() const { return *given_; }
  std::string_view function() const { return function_; }

 private:
  std::string_view function_;
  const Arguments* given_;
  std::array<std::optional<Value>, 4> values_;
};

}  // namespace moebius::jinja
