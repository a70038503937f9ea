#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/utf8.h"
#include "text/jinja/compare.h"
#include "text/jinja/number_text.h"
#include "text/jinja/value_text.h"

namespace moebius::jinja {
namespace {

std::string json_number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
  return real_text(value);
}

void append_unicode_escape(std::string& out, char32_t c) {
  if (c < 0x10000) {
    out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    return;
  }
  c -= 0x10000;
  out += fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + static_cast<unsigned>(c >> 10),
                     0xDC00 + static_cast<unsigned>(c & 0x3FF));
}

class JsonWriter {
 public:
  JsonWriter(Heap& heap, const JsonStyle& style) : heap_(heap), style_(style) {}

  void write(const Value& value) {
    const Heap::Nested nested(heap_);
    const std::size_t before = out_.size();
    std::visit([this](const auto& each) { put(each); }, value);
    heap_.spend(1 + (out_.size() - before) / 64);
  }
  std::string result() { return std::move(out_); }

 private:
  void put(None) { out_ += "null"; }
  void put(bool value) { out_ += value ? "true" : "false"; }
  void put(std::int64_t value) { out_ += std::to_string(value); }
  void put(double value) { out_ += json_number(value); }
  void put(std::string_view value) { put_string(value); }
  void put(const List* list) {
    if (list->kind != List::Kind::list && list->kind != List::Kind::tuple) refuse(type_of(list));
    open('[');
    for (std::size_t i = 0; i < list->elements.size(); ++i) {
      next_element(i);
      write(list->elements[i]);
    }
    close(']', list->elements.empty());
  }
  void put(const Dict* dict) {
    if (dict->is_namespace) refuse("Namespace");
    std::vector<std::pair<Value, Value>> entries = dict->entries;
    if (style_.sort_keys) {
      std::stable_sort(entries.begin(), entries.end(), [this](const auto& a, const auto& b) {
        return less(heap_, a.first, b.first);
      });
    }
    open('{');
    for (std::size_t i = 0; i < entries.size(); ++i) {
      next_element(i);
      put_string(key_text(entries[i].first));
      out_ += style_.key_separator;
      write(entries[i].second);
    }
    close('}', entries.empty());
  }
  void put(const Undefined&) { refuse("Undefined"); }
  void put(const Function*) { refuse("function"); }
  void put(const Loop*) { refuse("LoopContext"); }

  static const char* type_of(const List* list) { return type_name(const_cast<List*>(list)); }
  [[noreturn]] static void refuse(const char* type) {
    fail("a value of type {} cannot be written as JSON", type);
  }

  std::string key_text(const Value& key) const {
    if (const auto* text = std::get_if<std::string_view>(&key)) return std::string(*text);
    if (const auto* boolean = std::get_if<bool>(&key)) return *boolean ? "true" : "false";
    if (const auto* integer = std::get_if<std::int64_t>(&key)) return std::to_string(*integer);
    if (const auto* number = std::get_if<double>(&key)) return json_number(*number);
    if (is<None>(key)) return "null";
    fail("a key of type {} cannot be written as JSON", type_name(key));
  }

  void open(char bracket) {
    out_ += bracket;
    ++level_;
  }
  void next_element(std::size_t index) {
    if (index > 0) out_ += style_.item_separator;
    new_line();
  }
  void close(char bracket, bool empty) {
    --level_;
    if (!empty) new_line();
    out_ += bracket;
  }
  void new_line() {
    if (!style_.indent) return;
    heap_.reserve(style_.indent->size() * static_cast<std::size_t>(level_) + 1);
    out_ += '\n';
    for (int i = 0; i < level_; ++i) out_ += *style_.indent;
  }

  void put_string(std::string_view text) {
    out_ += '"';
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t start = at;
      const char32_t c = next_code_point(text, at);
      constexpr std::u32string_view kFrom = U"\"\\\n\r\t\f\b";
      if (const auto simple = kFrom.find(c); simple != kFrom.npos) {
        out_ += '\\';
        out_ += "\"\\nrtfb"[simple];
      } else if (c < 0x20 || (style_.escape_unicode && c > 0x7E)) {
        append_unicode_escape(out_, c);
      } else {
        out_ += text.substr(start, at - start);
      }
    }
    out_ += '"';
  }

  Heap& heap_;
  const JsonStyle& style_;
  std::string out_;
  int level_ = 0;
};

}  // namespace

std::string json_of(Heap& heap, const Value& value, const JsonStyle& style) {
  JsonWriter writer(heap, style);
  writer.write(value);
  return writer.result();
}

}  // namespace moebius::jinja
