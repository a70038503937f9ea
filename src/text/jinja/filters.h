// Filters (`value | name`) and tests (`value is name`) of Jinja.
#pragma once

#include <span>

#include "text/jinja/arguments.h"

namespace moebius::jinja {

/// Throws Error naming an unknown filter or test.
Value apply_filter(Heap& heap, std::string_view name, const Value& input,
                   const Arguments& arguments);
bool apply_test(Heap& heap, std::string_view name, const Value& input, const Arguments& arguments);

bool is_filter(std::string_view name);
bool is_test(std::string_view name);

struct Filter {
  std::string_view name;
  Parameters parameters;
  Value (*body)(Heap& heap, const Value& input, const Bound& arguments);
};
/// The tables that `apply_filter` searches.
std::span<const Filter> text_filters();
std::span<const Filter> sequence_filters();
std::span<const Filter> order_filters();
std::span<const Filter> scalar_filters();

}  // namespace moebius::jinja
