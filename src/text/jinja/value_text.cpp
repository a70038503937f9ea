#include "text/jinja/value_text.h"

#include <utf8proc.h>

#include "base/error.h"
#include "base/utf8.h"
#include "text/jinja/number_text.h"

namespace moebius::jinja {
namespace {

/// `str.isprintable` of one character.
bool is_printable(char32_t c) {
  if (c == ' ') return true;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
      return false;
    default:
      return true;
  }
}

std::string quoted(std::string_view text) {
  const bool has_single = text.find('\'') != npos, has_double = text.find('"') != npos;
  const char quote = has_single && !has_double ? '"' : '\'';
  std::string out(1, quote);
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t start = at;
    const char32_t c = next_code_point(text, at);
    const auto code = static_cast<unsigned>(c);
    if (c == '\\' || c == static_cast<char32_t>(quote)) {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c == '\n' || c == '\r' || c == '\t') {
      out += c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t";
    } else if (is_printable(c)) {
      out += text.substr(start, at - start);
    } else if (c < 0x100) {
      out += fmt::format("\\x{:02x}", code);
    } else {
      out += c < 0x10000 ? fmt::format("\\u{:04x}", code) : fmt::format("\\U{:08x}", code);
    }
  }
  return out + quote;
}

class Writer {
 public:
  Writer(Heap& heap, std::string& out) : heap_(heap), out_(out) {}

  void repr(const Value& value) {
    const Heap::Nested nested(heap_);
    const std::size_t before = out_.size();
    std::visit([this](const auto& each) { write(each); }, value);
    heap_.spend(1 + (out_.size() - before) / 64);
  }

 private:
  void write(Undefined) { out_ += "Undefined"; }
  void write(None) { out_ += "None"; }
  void write(bool value) { out_ += value ? "True" : "False"; }
  void write(std::int64_t value) { out_ += std::to_string(value); }
  void write(double value) { out_ += real_text(value); }
  void write(std::string_view value) { out_ += quoted(value); }
  void write(const Function* value) { out_ += fmt::format("<function {}>", value->name); }
  void write(Loop* value) {
    out_ += fmt::format("<LoopContext {}/{}>", value->index0 + 1, value->length());
  }

  void write(const List* list) {
    if (!list->label.empty()) {
      out_ += list->label;
      return;
    }
    const bool is_tuple = list->kind == List::Kind::tuple, is_list = list->kind == List::Kind::list;
    if (!is_tuple && !is_list)
      out_ += fmt::format("{}(", type_name(Value(const_cast<List*>(list))));
    out_ += is_tuple ? "(" : "[";
    for (std::size_t i = 0; i < list->elements.size(); ++i) {
      if (i > 0) out_ += ", ";
      repr(list->elements[i]);
    }
    if (is_tuple && list->elements.size() == 1) out_ += ",";
    out_ += is_tuple ? ")" : "]";
    if (!is_tuple && !is_list) out_ += ")";
  }

  void write(const Dict* dict) {
    out_ += dict->is_namespace ? "<Namespace {" : "{";
    for (std::size_t i = 0; i < dict->entries.size(); ++i) {
      if (i > 0) out_ += ", ";
      repr(dict->entries[i].first);
      out_ += ": ";
      repr(dict->entries[i].second);
    }
    out_ += dict->is_namespace ? "}>" : "}";
  }

  Heap& heap_;
  std::string& out_;
};

}  // namespace

std::string repr_of(Heap& heap, const Value& value) {
  std::string out;
  Writer(heap, out).repr(value);
  return out;
}

std::string_view text_of(Heap& heap, const Value& value) {
  if (const auto* text = std::get_if<std::string_view>(&value)) return *text;
  if (is<Undefined>(value)) return {};
  return heap.text(repr_of(heap, value));
}

}  // namespace moebius::jinja
