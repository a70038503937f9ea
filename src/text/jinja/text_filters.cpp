#include "base/error.h"
#include "text/jinja/filters.h"
#include "text/jinja/format.h"
#include "text/jinja/methods.h"
#include "text/jinja/sequence.h"
#include "text/jinja/text_split.h"
#include "text/jinja/unicode_text.h"
#include "text/jinja/value_text.h"

namespace moebius::jinja {
namespace {

/// Filters that convert their input to text and call its method.
template <const char* const& method>
Value text_method(Heap& heap, const Value& input, const Bound& arguments) {
  return *call_method(heap, text_of(heap, input), method, arguments.given());
}
constexpr const char* kUpper = "upper";
constexpr const char* kLower = "lower";
constexpr const char* kCapitalize = "capitalize";

Value trimmed(Heap& heap, const Value& input, const Bound& arguments) {
  const Arguments chars{{arguments[0]}, {}};
  return *call_method(heap, text_of(heap, input), "strip", chars);
}

/// Jinja's title case: words begin after white space and some punctuation.
Value titled(Heap& heap, const Value& input, const Bound&) {
  const std::string_view text = text_of(heap, input);
  heap.spend(text.size() / 8);
  heap.require(text.size() * 4);
  const auto is_mark = [](std::string_view c) {
    return c == "-" || c == "(" || c == "{" || c == "[" || c == "<" || strip(c).empty();
  };
  std::string out;
  std::size_t at = 0;
  while (at < text.size()) {
    std::size_t end = at;
    const auto next = [&] { return text.substr(end, offset_of(text.substr(end), 1)); };
    while (end < text.size() && !is_mark(next())) end += next().size();
    if (end > at) {
      const std::size_t first = at + offset_of(text.substr(at), 1);
      out += upper(text.substr(at, first - at)) + lower(text.substr(first, end - first));
    }
    while (end < text.size() && is_mark(next())) {
      out += next();
      end += next().size();
    }
    at = end;
  }
  return heap.text(std::move(out));
}

Value as_text(Heap& heap, const Value& input, const Bound&) {
  return text_of(heap, input);
}

Value replaced(Heap& heap, const Value& input, const Bound& arguments) {
  const std::int64_t limit = is<None>(arguments[2]) ? -1 : arguments.integer(2, -1);
  return replace(heap, text_of(heap, input), text_of(heap, arguments[0]),
                 text_of(heap, arguments[1]), limit);
}

Value escaped(Heap& heap, const Value& input, const Bound&) {
  const std::string_view text = text_of(heap, input);
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&#34;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  heap.spend(out.size() / 16);
  return heap.text(std::move(out));
}

Value indented(Heap& heap, const Value& input, const Bound& arguments) {
  const auto* text = std::get_if<std::string_view>(&input);
  if (text == nullptr) {
    require_defined(input);
    fail("indent: a str was expected, not {}", type_name(input));
  }
  const Value width = arguments[0];
  const std::string_view indent = is<std::string_view>(width)
                                      ? std::get<std::string_view>(width)
                                      : repeat(heap, " ", arguments.integer(0, 4));
  const bool blank = arguments.truth(2, false);
  // The additional newline preserves an empty last line.
  const std::vector<std::string_view> lines = split_lines(join(heap, {*text, "\n"}, {}));
  heap.spend(text->size() / 16 + lines.size());
  heap.require(text->size() + indent.size() * lines.size());
  std::string out(arguments.truth(1, false) ? indent : std::string_view());
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) {
      out += '\n';
      if (blank || !lines[i].empty()) out += indent;
    }
    out += lines[i];
  }
  return heap.text(std::move(out));
}

Value formatted(Heap& heap, const Value& input, const Bound& arguments) {
  const Arguments& given = arguments.given();
  if (!given.positional.empty() && !given.named.empty()) {
    fail("format takes arguments by position or by name, not both");
  }
  if (given.named.empty()) {
    return format_percent(heap, text_of(heap, input),
                          heap.list(List::Kind::tuple, given.positional));
  }
  Dict* names = heap.dict();
  for (const auto& [name, value] : given.named) names->entries.emplace_back(name, value);
  return format_percent(heap, text_of(heap, input), names);
}

/// The separators argument of `json.dumps`, or its defaults.
void set_separators(JsonStyle& style, const Value& separators) {
  style.item_separator = style.indent ? "," : ", ";
  if (is<None>(separators)) return;
  List* const* row = std::get_if<List*>(&separators);
  if (row == nullptr || (*row)->elements.size() != 2 ||
      !is<std::string_view>((*row)->elements[0]) || !is<std::string_view>((*row)->elements[1])) {
    fail("tojson: separators must be two strings");
  }
  style.item_separator = std::get<std::string_view>((*row)->elements[0]);
  style.key_separator = std::get<std::string_view>((*row)->elements[1]);
}

/// The `tojson` of transformers, which does not escape HTML.
Value to_json(Heap& heap, const Value& input, const Bound& arguments) {
  JsonStyle style;
  style.escape_unicode = arguments.truth(0, false);
  const Value indent = arguments[1];
  if (const auto* text = std::get_if<std::string_view>(&indent)) {
    style.indent = std::string(*text);
  } else if (!is<None>(indent)) {
    style.indent = std::string(repeat(heap, " ", arguments.integer(1, 0)));
  }
  set_separators(style, arguments[2]);
  style.sort_keys = arguments.truth(3, false);
  return heap.text(json_of(heap, input, style));
}

constexpr Filter kFilters[] = {
    {"capitalize", {}, text_method<kCapitalize>},
    {"e", {}, escaped},
    {"escape", {}, escaped},
    {"format", {.any = true}, formatted},
    {"indent", {{"width", "first", "blank"}}, indented},
    {"lower", {}, text_method<kLower>},
    {"replace", {{"old", "new", "count"}, 2}, replaced},
    {"safe", {}, as_text},
    {"string", {}, as_text},
    {"title", {}, titled},
    {"tojson", {{"ensure_ascii", "indent", "separators", "sort_keys"}}, to_json},
    {"trim", {{"chars"}}, trimmed},
    {"upper", {}, text_method<kUpper>},
};

}  // namespace

std::span<const Filter> text_filters() {
  return kFilters;
}

}  // namespace moebius::jinja
