#include "text/jinja/format.h"

#include <cmath>

#include "base/error.h"
#include "text/jinja/compare.h"
#include "text/jinja/number_text.h"
#include "text/jinja/unicode_text.h"
#include "text/jinja/value_text.h"

namespace moebius::jinja {
namespace {

constexpr std::size_t npos = std::string_view::npos;

std::string fixed_point(const Value& value, std::int64_t digits) {
  const auto number = as_number(value);
  if (!number) fail("a number was expected, not {}", type_name(value));
  if (digits > 100) fail("a precision of {} is too large", digits);
  if (!std::isfinite(*number)) return real_text(*number);
  return fmt::format("{:.{}f}", *number, static_cast<int>(digits));
}

/// The text of a field by its specification: empty, a precision such as `.2f`, or `d`.
std::string field_text(Heap& heap, const Value& value, std::string_view specification) {
  if (specification.empty()) return std::string(text_of(heap, value));
  if (specification.starts_with('.') && specification.ends_with('f')) {
    const auto digits = parse_integer(specification.substr(1, specification.size() - 2), 10);
    if (digits && *digits >= 0) return fixed_point(value, *digits);
  }
  if (specification == "d" && is<std::int64_t>(value)) return std::string(text_of(heap, value));
  fail("format: the specification '{}' is not supported", specification);
}

class Braces {
 public:
  Braces(Heap& heap, const Arguments& arguments) : heap_(heap), arguments_(arguments) {}

  std::string fill(std::string_view text) {
    std::string out;
    for (std::size_t at = 0; at < text.size(); ++at) {
      const bool twice = at + 1 < text.size() && text[at + 1] == text[at];
      if ((text[at] == '{' || text[at] == '}') && twice) {
        out += text[at++];
      } else if (text[at] == '}') {
        fail("format: a single '}}' in the text");
      } else if (text[at] != '{') {
        out += text[at];
      } else {
        const std::size_t end = text.find('}', at);
        if (end == npos) fail("format: a single '{{' in the text");
        out += field(text.substr(at + 1, end - at - 1));
        heap_.require(out.size());
        at = end;
      }
    }
    return out;
  }

 private:
  std::string field(std::string_view field) {
    heap_.spend();
    const std::size_t colon = field.find(':');
    const std::string_view specification = colon == npos ? "" : field.substr(colon + 1);
    field = field.substr(0, colon);
    char conversion = 's';
    if (field.size() > 1 && field[field.size() - 2] == '!') {
      conversion = field.back();
      field.remove_suffix(2);
    }
    const Value& chosen = value(field);
    if (conversion == 's') return field_text(heap_, chosen, specification);
    if (conversion != 'r' || !specification.empty())
      fail("format: '!{}' is not supported", conversion);
    return repr_of(heap_, chosen);
  }

  const Value& value(std::string_view name) {
    if (name.find_first_of(".[") != npos) fail("format: the field '{}' is not supported", name);
    if (name.empty() || all_are(name, CharTest::digit)) {
      const std::int64_t index = name.empty() ? next_++ : parse_integer(name, 10).value_or(-1);
      const auto count = static_cast<std::int64_t>(arguments_.positional.size());
      if (index < 0 || index >= count) fail("format: there is no argument {}", index);
      return arguments_.positional[static_cast<std::size_t>(index)];
    }
    for (const auto& [other, value] : arguments_.named) {
      if (other == name) return value;
    }
    fail("format: there is no argument '{}'", name);
  }

  Heap& heap_;
  const Arguments& arguments_;
  std::int64_t next_ = 0;
};

class Percents {
 public:
  Percents(Heap& heap, const Value& values) : heap_(heap), values_(values) {}

  std::string fill(std::string_view text) {
    std::string out;
    for (std::size_t at = 0; at < text.size(); ++at) {
      if (text[at] != '%') {
        out += text[at];
        continue;
      }
      const std::size_t end =
          text.find_first_not_of("(.0123456789", ++at) == npos ? npos : end_of_field(text, at);
      if (end == npos) fail("format: the text ends inside a '%' field");
      out += field(text.substr(at, end - at), text[end]);
      heap_.require(out.size());
      at = end;
    }
    const List* row = list_of(values_, List::Kind::tuple);
    // Python does not require that an argument with subscripts is used.
    const bool by_name =
        mapping_of(values_) != nullptr || is<List*>(values_) || is<Undefined>(values_);
    const bool used = row != nullptr ? next_ == row->elements.size() : next_ == 1 || by_name;
    if (!used) fail("format: not all arguments were used");
    return out;
  }

 private:
  static std::size_t end_of_field(std::string_view text, std::size_t at) {
    if (text[at] == '(') at = text.find(')', at);
    if (at == npos) return npos;
    at = text.find_first_not_of(").0123456789", at);
    return at;
  }

  std::string field(std::string_view options, char kind) {
    heap_.spend();
    if (kind == '%' && options.empty()) return "%";
    const std::size_t close = options.starts_with('(') ? options.find(')') : npos;
    const Value value = close != npos ? named(options.substr(1, close - 1)) : positional();
    if (close != npos) options.remove_prefix(close + 1);
    if (kind == 'f' && (options.empty() || options.starts_with('.'))) {
      const auto digits = options.empty() ? 6 : parse_integer(options.substr(1), 10).value_or(0);
      return fixed_point(value, digits);
    }
    if (!options.empty()) fail("format: '%{}{}' is not supported", options, kind);
    if (kind == 's') return std::string(text_of(heap_, value));
    if (kind == 'r') return repr_of(heap_, value);
    if (kind != 'd' && kind != 'i') fail("format: '%{}' is not supported", kind);
    if (const auto integer = as_integer(value)) return std::to_string(*integer);
    const auto number = as_number(value);
    if (!number || !(std::abs(*number) < 0x1p63)) {
      fail("format: a number was expected for '%{}', not {}", kind, type_name(value));
    }
    return std::to_string(static_cast<std::int64_t>(*number));
  }

  Value named(std::string_view name) {
    Dict* dict = mapping_of(values_);
    const Value* found = dict == nullptr ? nullptr : find_entry(heap_, *dict, name);
    if (found == nullptr) fail("format: there is no argument '{}'", name);
    return *found;
  }

  Value positional() {
    const List* row = list_of(values_, List::Kind::tuple);
    const std::size_t count = row != nullptr ? row->elements.size() : 1;
    if (next_ >= count) fail("format: there are not enough arguments");
    ++next_;
    return row != nullptr ? row->elements[next_ - 1] : values_;
  }

  Heap& heap_;
  const Value& values_;
  std::size_t next_ = 0;
};

}  // namespace

std::string_view format_braces(Heap& heap, std::string_view text, const Arguments& arguments) {
  heap.spend(text.size() / 16);
  return heap.text(Braces(heap, arguments).fill(text));
}

std::string_view format_percent(Heap& heap, std::string_view text, const Value& values) {
  heap.spend(text.size() / 16);
  return heap.text(Percents(heap, values).fill(text));
}

}  // namespace moebius::jinja
