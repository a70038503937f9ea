#include "text/jinja/value.h"

#include "base/error.h"

namespace moebius::jinja {
namespace {

const char* name_of(List::Kind kind) {
  switch (kind) {
    case List::Kind::list:
      return "list";
    case List::Kind::tuple:
      return "tuple";
    case List::Kind::range:
      return "range";
    case List::Kind::keys:
      return "dict_keys";
    case List::Kind::values:
      return "dict_values";
    case List::Kind::items:
      return "dict_items";
    case List::Kind::iterator:
      return "generator";
  }
  return "";
}

}  // namespace

bool Loop::reach(std::size_t index) {
  while (elements->size() <= index) {
    const std::optional<Value> next = draw ? draw() : std::nullopt;
    if (!next) return false;
    drawn.push_back(*next);
  }
  return true;
}

std::size_t Loop::length() {
  while (reach(elements->size())) {
  }
  return elements->size();
}

List* list_of(const Value& value, List::Kind kind) {
  List* const* list = std::get_if<List*>(&value);
  return list != nullptr && (*list)->kind == kind ? *list : nullptr;
}

Dict* mapping_of(const Value& value) {
  Dict* const* dict = std::get_if<Dict*>(&value);
  return dict != nullptr && !(*dict)->is_namespace ? *dict : nullptr;
}

std::optional<std::int64_t> as_integer(const Value& value) {
  if (const auto* integer = std::get_if<std::int64_t>(&value)) return *integer;
  if (const auto* boolean = std::get_if<bool>(&value)) return *boolean ? 1 : 0;
  return std::nullopt;
}

std::optional<double> as_number(const Value& value) {
  if (const auto* number = std::get_if<double>(&value)) return *number;
  if (const auto integer = as_integer(value)) return static_cast<double>(*integer);
  return std::nullopt;
}

const char* type_name(const Value& value) {
  struct Namer {
    const char* operator()(Undefined) const { return "Undefined"; }
    const char* operator()(None) const { return "NoneType"; }
    const char* operator()(bool) const { return "bool"; }
    const char* operator()(std::int64_t) const { return "int"; }
    const char* operator()(double) const { return "float"; }
    const char* operator()(std::string_view) const { return "str"; }
    const char* operator()(const List* list) const { return name_of(list->kind); }
    const char* operator()(const Dict* dict) const {
      return dict->is_namespace ? "Namespace" : "dict";
    }
    const char* operator()(const Function*) const { return "function"; }
    const char* operator()(const Loop*) const { return "LoopContext"; }
  };
  return std::visit(Namer{}, value);
}

bool truthy(const Value& value) {
  struct Truth {
    bool operator()(Undefined) const { return false; }
    bool operator()(None) const { return false; }
    bool operator()(bool boolean) const { return boolean; }
    bool operator()(std::int64_t integer) const { return integer != 0; }
    bool operator()(double number) const { return number != 0; }
    bool operator()(std::string_view text) const { return !text.empty(); }
    bool operator()(const List* list) const {
      return list->kind == List::Kind::iterator || !list->elements.empty();
    }
    bool operator()(const Dict* dict) const { return dict->is_namespace || !dict->entries.empty(); }
    bool operator()(const Function*) const { return true; }
    bool operator()(Loop* loop) const { return loop->length() > 0; }
  };
  return std::visit(Truth{}, value);
}

void fail_undefined(const Undefined& undefined) {
  if (undefined.owner == nullptr) fail("'{}' is undefined", undefined.name);
  fail("'{}' has no '{}'", undefined.owner, undefined.name);
}

void require_defined(const Value& value) {
  if (const auto* undefined = std::get_if<Undefined>(&value)) fail_undefined(*undefined);
}

}  // namespace moebius::jinja
