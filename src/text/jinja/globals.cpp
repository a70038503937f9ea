#include "text/jinja/globals.h"

#include <chrono>
#include <ctime>
#include <nlohmann/json.hpp>

#include "base/utf8.h"
#include "text/jinja/arguments.h"
#include "text/jinja/compare.h"
#include "text/jinja/sequence.h"
#include "text/jinja/text_split.h"
#include "text/jinja/value_text.h"

namespace moebius::jinja {
namespace {

/// The limit of Jinja's sandbox.
constexpr std::int64_t kMaxRange = 100'000;

Value range(Heap& heap, const Bound& arguments) {
  const bool one = !arguments.has(1);
  const std::int64_t start = one ? 0 : arguments.integer(0, 0);
  const std::int64_t stop = arguments.integer(one ? 0 : 1, 0);
  const std::int64_t step = arguments.integer(2, 1);
  if (step == 0) fail("range: the step cannot be 0");
  std::vector<Value> elements;
  for (std::int64_t i = start; step > 0 ? i < stop : i > stop;) {
    if (static_cast<std::int64_t>(elements.size()) == kMaxRange) {
      fail("range: more than {} elements", kMaxRange);
    }
    elements.emplace_back(i);
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  List* made = heap.list(List::Kind::range, std::move(elements));
  made->label = heap.text(step == 1 ? fmt::format("range({}, {})", start, stop)
                                    : fmt::format("range({}, {}, {})", start, stop, step));
  return made;
}

/// `dict(mapping or pairs, name=value, ...)`; also the initial entries of a namespace.
Dict* dict_from(Heap& heap, const Arguments& arguments) {
  Dict* made = heap.dict();
  if (arguments.positional.size() > 1) fail("dict takes one argument by position");
  if (!arguments.positional.empty()) {
    const Value& from = arguments.positional[0];
    if (const Dict* other = mapping_of(from)) {
      for (const auto& [key, value] : other->entries) set_entry(heap, *made, key, value);
    } else {
      for (const Value& each : elements_of(heap, from)) {
        const std::vector<Value> pair = elements_of(heap, each);
        if (pair.size() != 2) fail("dict: an element is not a pair");
        set_entry(heap, *made, pair[0], pair[1]);
      }
    }
  }
  for (const auto& [name, value] : arguments.named) set_entry(heap, *made, name, value);
  return made;
}

Value dict(Heap& heap, const Bound& arguments) {
  return dict_from(heap, arguments.given());
}

Value make_namespace(Heap& heap, const Bound& arguments) {
  Dict* made = dict_from(heap, arguments.given());
  for (const auto& [name, value] : made->entries) {
    const auto* text = std::get_if<std::string_view>(&name);
    if (text != nullptr && text->starts_with('_')) {
      fail("a namespace cannot hold '{}': the name begins with an underscore", *text);
    }
  }
  made->is_namespace = true;
  return made;
}

Value raise_exception(Heap& heap, const Bound& arguments) {
  throw Raised(std::string(text_of(heap, arguments[0])), "so says the model's chat template");
}

/// Expands the directives that Python's `strftime` treats differently from the C library's: %f are
/// microseconds, and %z and %Z of a time without zone are empty.
std::string python_format(std::string_view format, long microseconds) {
  std::string out;
  for (std::size_t at = 0; at < format.size(); ++at) {
    const char next = format[at] == '%' && at + 1 < format.size() ? format[at + 1] : '\0';
    if (next == 'f') {
      out += fmt::format("{:06}", microseconds);
    } else if (next == '%') {
      out += "%%";
    } else if (next != 'z' && next != 'Z') {
      out += format[at];
      continue;
    }
    ++at;
  }
  return out;
}

Value strftime_now(Heap& heap, const Bound& arguments) {
  constexpr std::size_t kMaxText = 4096;
  const auto now = std::chrono::system_clock::now();
  const std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  const auto rest = now - std::chrono::system_clock::from_time_t(seconds);
  std::tm local{};
  ::localtime_r(&seconds, &local);
  std::string format = python_format(
      arguments.text(0), std::chrono::duration_cast<std::chrono::microseconds>(rest).count());
  if (format.empty()) return std::string_view();
  format += '|';  // distinguishes an empty result from one that is too long
  std::string text(kMaxText, '\0');
  const std::size_t size = std::strftime(text.data(), text.size(), format.c_str(), &local);
  if (size == 0) fail("strftime_now: the format gives more than {} bytes", kMaxText);
  text.resize(size - 1);
  return heap.text(replace_invalid_utf8(text));
}

struct Global {
  std::string_view name;
  Parameters parameters;
  Value (*body)(Heap& heap, const Bound& arguments);
};
constexpr Global kGlobals[] = {
    {"dict", {.any = true}, dict},
    {"namespace", {.any = true}, make_namespace},
    {"raise_exception", {{"message"}, 1}, raise_exception},
    {"range", {{"start", "stop", "step"}, 1}, range},
    {"strftime_now", {{"format"}, 1}, strftime_now},
};

}  // namespace

Variables global_functions(Heap& heap) {
  Variables made;
  for (const Global& global : kGlobals) {
    Function* function = heap.function(global.name, [&heap, &global](const Arguments& arguments) {
      return global.body(heap, Bound(global.name, global.parameters, arguments));
    });
    made.emplace_back(global.name, function);
  }
  return made;
}

Value value_of(Heap& heap, const Json& json) {
  const Heap::Nested nested(heap);
  heap.spend();
  if (json.is_boolean()) return json.get<bool>();
  if (json.is_number_unsigned() && json.get<std::uint64_t>() > INT64_MAX) {
    fail("the integer {} does not fit in 64 bits", json.get<std::uint64_t>());
  }
  if (json.is_number_integer()) return json.get<std::int64_t>();
  if (json.is_number_float()) return json.get<double>();
  if (json.is_string()) {
    const std::string_view text = json.get_ref<const std::string&>();
    check_utf8(text, "a text given to the template");
    return text;
  }
  if (json.is_array()) {
    std::vector<Value> elements;
    for (const Json& each : json) elements.push_back(value_of(heap, each));
    return heap.list(List::Kind::list, std::move(elements));
  }
  if (!json.is_object()) return None{};
  heap.reserve(json.size() * 2 * sizeof(Value));
  Dict* made = heap.dict();
  for (const auto& [key, value] : json.items()) {
    check_utf8(key, "a key given to the template");
    made->entries.emplace_back(std::string_view(key), value_of(heap, value));
  }
  return made;
}

}  // namespace moebius::jinja
