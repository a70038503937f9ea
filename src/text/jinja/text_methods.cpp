#include <algorithm>

#include "base/error.h"
#include "text/jinja/format.h"
#include "text/jinja/methods.h"
#include "text/jinja/sequence.h"
#include "text/jinja/text_split.h"
#include "text/jinja/unicode_text.h"
#include "text/jinja/value_text.h"

namespace moebius::jinja {
namespace {

std::string_view text(const Value& self) {
  return std::get<std::string_view>(self);
}

/// Calls a case mapping; counts four bytes per code point.
template <std::string (*map)(std::string_view)>
Value mapped(Heap& heap, const Value& self, const Bound&) {
  heap.spend(text(self).size() / 8);
  heap.reserve(text(self).size() * 4);
  return heap.text(map(text(self)));
}

template <Side side>
Value stripped(Heap& heap, const Value& self, const Bound& arguments) {
  heap.spend(text(self).size() / 64);
  if (is<None>(arguments[0])) return strip(text(self), side);
  return strip(text(self), arguments.text(0), side);
}

template <CharTest test>
Value tested(Heap& heap, const Value& self, const Bound&) {
  heap.spend(text(self).size() / 16);
  return all_are(text(self), test);
}

/// The part between the optional positions `arguments[from]` and `[from + 1]`, in code points.
std::string_view window(Heap& heap, const Value& self, const Bound& arguments, std::size_t from) {
  return text(slice_of(heap, self, arguments[from], arguments[from + 1], None{}));
}

/// `startswith` and `endswith` of one text or a tuple of texts.
template <bool at_end>
Value touches(Heap& heap, const Value& self, const Bound& arguments) {
  const std::string_view part = window(heap, self, arguments, 1);
  const auto touch = [&](const Value& affix) {
    const auto* want = std::get_if<std::string_view>(&affix);
    if (want == nullptr) {
      require_defined(affix);
      fail("{}: a str was expected, not {}", arguments.function(), type_name(affix));
    }
    return at_end ? part.ends_with(*want) : part.starts_with(*want);
  };
  if (const List* several = list_of(arguments[0], List::Kind::tuple)) {
    return std::any_of(several->elements.begin(), several->elements.end(), touch);
  }
  return touch(arguments[0]);
}

/// `find`, `rfind`, `index` and `rindex`: the position in code points, -1 if absent.
template <bool last, bool must>
Value found(Heap& heap, const Value& self, const Bound& arguments) {
  const std::string_view whole = text(self), part = window(heap, self, arguments, 1);
  const std::string_view needle = arguments.text(0);
  heap.spend(part.size() / 16 * (last ? std::max<std::size_t>(needle.size(), 1) : 1));
  const std::int64_t start = is<None>(arguments[1]) ? 0 : arguments.integer(1, 0);
  std::size_t at = last ? part.rfind(needle) : find(part, needle);
  if (start > length_of(whole)) at = std::string_view::npos;
  if (at == std::string_view::npos) {
    if (must) fail("{}: the text was not found", arguments.function());
    return std::int64_t{-1};
  }
  const auto offset = static_cast<std::size_t>(part.data() - whole.data()) + at;
  return length_of(whole.substr(0, offset));
}

Value counted(Heap& heap, const Value& self, const Bound& arguments) {
  const std::string_view part = window(heap, self, arguments, 1), needle = arguments.text(0);
  heap.spend(part.size() / 16);
  if (needle.empty()) return length_of(part) + 1;
  std::int64_t count = 0;
  for (std::size_t at = find(part, needle); at != std::string_view::npos;
       at = find(part, needle, at + needle.size())) {
    ++count;
  }
  return count;
}

Value replaced(Heap& heap, const Value& self, const Bound& arguments) {
  return replace(heap, text(self), arguments.text(0), arguments.text(1), arguments.integer(2, -1));
}

template <bool from_end>
Value split_up(Heap& heap, const Value& self, const Bound& arguments) {
  const std::int64_t limit = arguments.integer(1, -1);
  if (is<None>(arguments[0])) return split_at_space(heap, text(self), limit, from_end);
  return split_at(heap, text(self), arguments.text(0), limit, from_end);
}

Value lines(Heap& heap, const Value& self, const Bound& arguments) {
  heap.spend(text(self).size() / 16);
  if (arguments.truth(0, false)) fail("splitlines with keepends is not supported");
  std::vector<Value> out;
  for (const std::string_view line : split_lines(text(self))) out.emplace_back(line);
  return heap.list(List::Kind::list, std::move(out));
}

Value joined(Heap& heap, const Value& self, const Bound& arguments) {
  std::vector<std::string_view> parts;
  for (const Value& each : elements_of(heap, arguments[0])) {
    const auto* part = std::get_if<std::string_view>(&each);
    if (part == nullptr) fail("join: a str was expected, not {}", type_name(each));
    parts.push_back(*part);
  }
  return join(heap, parts, text(self));
}

/// `partition` and `rpartition`: (before, separator, after) its first or last occurrence.
template <bool last>
Value partitioned(Heap& heap, const Value& self, const Bound& arguments) {
  const std::string_view whole = text(self), separator = arguments.text(0);
  if (separator.empty()) fail("{}: the separator is empty", arguments.function());
  heap.spend(whole.size() / 16 * (last ? separator.size() : 1));
  const std::size_t at = last ? whole.rfind(separator) : find(whole, separator);
  const std::string_view none;
  if (at == std::string_view::npos) {
    if (last) return heap.list(List::Kind::tuple, {none, none, whole});
    return heap.list(List::Kind::tuple, {whole, none, none});
  }
  return heap.list(List::Kind::tuple,
                   {whole.substr(0, at), separator, whole.substr(at + separator.size())});
}

Value without_prefix(Heap&, const Value& self, const Bound& arguments) {
  std::string_view whole = text(self);
  if (whole.starts_with(arguments.text(0))) whole.remove_prefix(arguments.text(0).size());
  return whole;
}

Value without_suffix(Heap&, const Value& self, const Bound& arguments) {
  std::string_view whole = text(self);
  if (whole.ends_with(arguments.text(0))) whole.remove_suffix(arguments.text(0).size());
  return whole;
}

/// Pads a text to a width in code points.
template <bool at_left>
Value justified(Heap& heap, const Value& self, const Bound& arguments) {
  const std::string_view whole = text(self), fill = arguments.text_or(1, " ");
  if (length_of(fill) != 1) fail("{}: the filling must be one character", arguments.function());
  const std::int64_t missing =
      std::max<std::int64_t>(arguments.integer(0, 0) - length_of(whole), 0);
  const std::string_view padding = repeat(heap, fill, missing);
  return heap.text(at_left ? fmt::format("{}{}", padding, whole)
                           : fmt::format("{}{}", whole, padding));
}

Value zero_filled(Heap& heap, const Value& self, const Bound& arguments) {
  const std::string_view whole = text(self);
  const std::int64_t missing =
      std::max<std::int64_t>(arguments.integer(0, 0) - length_of(whole), 0);
  const std::size_t sign = whole.starts_with('-') || whole.starts_with('+') ? 1 : 0;
  const std::string_view zeros = repeat(heap, "0", missing);
  return heap.text(fmt::format("{}{}{}", whole.substr(0, sign), zeros, whole.substr(sign)));
}

Value formatted(Heap& heap, const Value& self, const Bound& arguments) {
  return format_braces(heap, text(self), arguments.given());
}

constexpr Parameters kNone{}, kChars{{"chars"}}, kRange{{"text", "start", "end"}, 1},
    kSplit{{"sep", "maxsplit"}}, kWidth{{"width", "fill"}, 1}, kAny{.any = true};

constexpr Method kMethods[] = {
    {"capitalize", kNone, mapped<capitalize>},
    {"count", kRange, counted},
    {"endswith", kRange, touches<true>},
    {"find", kRange, found<false, false>},
    {"format", kAny, formatted},
    {"index", kRange, found<false, true>},
    {"isalnum", kNone, tested<CharTest::alnum>},
    {"isalpha", kNone, tested<CharTest::alpha>},
    {"isdigit", kNone, tested<CharTest::digit>},
    {"islower", kNone, tested<CharTest::lower>},
    {"isspace", kNone, tested<CharTest::space>},
    {"isupper", kNone, tested<CharTest::upper>},
    {"join", {{"iterable"}, 1}, joined},
    {"ljust", kWidth, justified<false>},
    {"lower", kNone, mapped<lower>},
    {"lstrip", kChars, stripped<Side::left>},
    {"partition", {{"sep"}, 1}, partitioned<false>},
    {"removeprefix", {{"prefix"}, 1}, without_prefix},
    {"removesuffix", {{"suffix"}, 1}, without_suffix},
    {"replace", {{"old", "new", "count"}, 2}, replaced},
    {"rfind", kRange, found<true, false>},
    {"rindex", kRange, found<true, true>},
    {"rjust", kWidth, justified<true>},
    {"rpartition", {{"sep"}, 1}, partitioned<true>},
    {"rsplit", kSplit, split_up<true>},
    {"rstrip", kChars, stripped<Side::right>},
    {"split", kSplit, split_up<false>},
    {"splitlines", {{"keepends"}}, lines},
    {"startswith", kRange, touches<false>},
    {"strip", kChars, stripped<Side::both>},
    {"title", kNone, mapped<title>},
    {"upper", kNone, mapped<upper>},
    {"zfill", {{"width"}, 1}, zero_filled},
};

}  // namespace

const Method* find_text_method(std::string_view name) {
  const auto at = std::find_if(std::begin(kMethods), std::end(kMethods),
                               [name](const Method& method) { return method.name == name; });
  return at == std::end(kMethods) ? nullptr : at;
}

}  // namespace moebius::jinja
