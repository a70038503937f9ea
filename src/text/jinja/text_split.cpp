#include "text/jinja/text_split.h"

#include <algorithm>

#include "base/error.h"
#include "text/jinja/unicode_text.h"

namespace moebius::jinja {
namespace {

constexpr std::size_t kNone = std::string_view::npos;

Value list_of_parts(Heap& heap, std::vector<Value> parts, bool from_end) {
  if (from_end) std::reverse(parts.begin(), parts.end());
  return heap.list(List::Kind::list, std::move(parts));
}

}  // namespace

Value split_at(Heap& heap, std::string_view text, std::string_view separator, std::int64_t limit,
               bool from_end) {
  if (separator.empty()) fail("split: the separator is empty");
  heap.spend(text.size() / 16 * (from_end ? separator.size() : 1));
  std::vector<Value> parts;
  while (limit < 0 || static_cast<std::int64_t>(parts.size()) < limit) {
    const std::size_t at = from_end ? text.rfind(separator) : find(text, separator);
    if (at == kNone) break;
    heap.spend();
    const std::size_t after = at + separator.size();
    parts.emplace_back(from_end ? text.substr(after) : text.substr(0, at));
    text = from_end ? text.substr(0, at) : text.substr(after);
  }
  parts.emplace_back(text);
  return list_of_parts(heap, std::move(parts), from_end);
}

Value split_at_space(Heap& heap, std::string_view text, std::int64_t limit, bool from_end) {
  heap.spend(text.size() / 16);
  const Side side = from_end ? Side::right : Side::left;
  std::vector<Value> parts;
  for (text = strip(text, side); !text.empty(); text = strip(text, side)) {
    if (limit >= 0 && static_cast<std::int64_t>(parts.size()) >= limit) {
      parts.emplace_back(text);
      break;
    }
    const std::string_view rest = strip_word(text, side);
    parts.emplace_back(from_end ? text.substr(rest.size())
                                : text.substr(0, text.size() - rest.size()));
    text = rest;
  }
  return list_of_parts(heap, std::move(parts), from_end);
}

std::string_view join(Heap& heap, const std::vector<std::string_view>& parts,
                      std::string_view separator) {
  if (parts.empty()) return {};
  std::size_t size = separator.size() * (parts.size() - 1);
  for (const std::string_view part : parts) size += part.size();
  heap.require(size);
  heap.spend(parts.size());
  std::string out;
  out.reserve(size);
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (i > 0) out += separator;
    out += parts[i];
  }
  return heap.text(std::move(out));
}

std::string_view replace(Heap& heap, std::string_view text, std::string_view from,
                         std::string_view to, std::int64_t limit) {
  heap.spend(text.size() / 16);
  std::string out;
  std::size_t at = 0;
  for (std::int64_t count = 0; limit < 0 || count < limit; ++count) {
    // An empty text occurs before every character and at the end.
    const std::size_t next = from.empty() && count > 0
                                 ? (at < text.size() ? at + offset_of(text.substr(at), 1) : kNone)
                                 : find(text, from, at);
    if (next == kNone) break;
    heap.spend();
    heap.require(out.size() + next - at + to.size());
    out += text.substr(at, next - at);
    out += to;
    at = next + from.size();
  }
  out += text.substr(at);
  return heap.text(std::move(out));
}

std::string_view repeat(Heap& heap, std::string_view text, std::int64_t count) {
  if (count <= 0 || text.empty()) return {};
  std::size_t size = 0;
  if (__builtin_mul_overflow(text.size(), static_cast<std::size_t>(count), &size)) {
    size = static_cast<std::size_t>(-1);
  }
  heap.require(size);
  std::string out;
  out.reserve(size);
  for (std::int64_t i = 0; i < count; ++i) out += text;
  return heap.text(std::move(out));
}

}  // namespace moebius::jinja
