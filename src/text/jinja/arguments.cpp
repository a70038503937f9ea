#include "text/jinja/arguments.h"

#include <algorithm>

#include "base/error.h"

namespace moebius::jinja {

Bound::Bound(std::string_view function, const Parameters& parameters, const Arguments& arguments)
    : function_(function), given_(&arguments) {
  if (parameters.any) return;
  const auto& names = parameters.names;
  const auto count = static_cast<std::size_t>(
      std::find(names.begin(), names.end(), std::string_view()) - names.begin());
  if (arguments.positional.size() > count) {
    fail("{} takes no more than {} arguments, {} were given", function, count,
         arguments.positional.size());
  }
  std::copy(arguments.positional.begin(), arguments.positional.end(), values_.begin());
  for (const auto& [name, value] : arguments.named) {
    const auto at = static_cast<std::size_t>(
        std::find(names.begin(), names.begin() + static_cast<std::ptrdiff_t>(count), name) -
        names.begin());
    if (at == count) fail("{} has no parameter '{}'", function, name);
    if (values_[at]) fail("{} was given '{}' twice", function, name);
    values_[at] = value;
  }
  for (std::size_t i = 0; i < parameters.required; ++i) {
    if (!values_[i]) fail("{} needs an argument '{}'", function, names[i]);
  }
}

bool Bound::truth(std::size_t index, bool fallback) const {
  return values_[index] ? truthy(*values_[index]) : fallback;
}

std::int64_t Bound::integer(std::size_t index, std::int64_t fallback) const {
  if (!values_[index]) return fallback;
  if (const auto integer = as_integer(*values_[index])) return *integer;
  fail("{}: an int was expected, not {}", function_, type_name(*values_[index]));
}

std::string_view Bound::text(std::size_t index) const {
  const Value value = (*this)[index];
  if (const auto* text = std::get_if<std::string_view>(&value)) return *text;
  require_defined(value);
  fail("{}: a str was expected, not {}", function_, type_name(value));
}

std::string_view Bound::text_or(std::size_t index, std::string_view fallback) const {
  return values_[index] ? text(index) : fallback;
}

}  // namespace moebius::jinja
