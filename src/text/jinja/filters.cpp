#include "text/jinja/filters.h"

#include "base/error.h"

namespace moebius::jinja {
namespace {

const Filter* find_filter(std::string_view name) {
  for (const auto table : {text_filters(), sequence_filters(), order_filters(), scalar_filters()}) {
    for (const Filter& filter : table) {
      if (filter.name == name) return &filter;
    }
  }
  return nullptr;
}

}  // namespace

bool is_filter(std::string_view name) {
  return find_filter(name) != nullptr;
}

Value apply_filter(Heap& heap, std::string_view name, const Value& input,
                   const Arguments& arguments) {
  const Filter* filter = find_filter(name);
  if (filter == nullptr) fail("the filter '{}' is not supported", name);
  heap.spend();
  return filter->body(heap, input, Bound(filter->name, filter->parameters, arguments));
}

}  // namespace moebius::jinja
