#include "text/jinja/compare.h"
#include "text/jinja/filters.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/methods.h"
#include "text/jinja/operators.h"
#include "text/jinja/sequence.h"
#include "text/jinja/text_split.h"
#include "text/jinja/value_text.h"

namespace moebius::jinja {

using Kind = Expression::Kind;

Value Interpreter::evaluate(const Expression& node, const Scope& scope) {
  const Heap::Nested nested(heap_);
  heap_.spend();
  const auto child = [&](std::size_t i) { return evaluate(*node.children[i], scope); };
  switch (node.kind) {
    case Kind::constant:
      return node.constant;
    case Kind::variable:
      return variable(node, scope);
    case Kind::attribute: {
      const Value owner = child(0);
      line_ = node.line;
      return attribute_of(heap_, owner, node.name);
    }
    case Kind::item: {
      const Value owner = child(0), key = child(1);
      line_ = node.line;
      return item_of(heap_, owner, key);
    }
    case Kind::slice:
      return slice(node, scope);
    case Kind::call:
      return call(node, scope);
    case Kind::filter:
      return filtered(node, child(0), scope);
    case Kind::test: {
      const Value subject = child(0);
      const Arguments arguments = arguments_of(node, scope);
      line_ = node.line;
      return apply_test(heap_, node.name, subject, arguments);
    }
    case Kind::list:
    case Kind::tuple:
      return container(node, scope);
    case Kind::dict:
      return dict(node, scope);
    case Kind::unary: {
      const Value operand = child(0);
      line_ = node.line;
      return node.name == "not" ? Value(!truthy(operand)) : signed_value(node.name, operand);
    }
    case Kind::binary: {
      const Value left = child(0), right = child(1);
      line_ = node.line;
      return arithmetic(heap_, node.name, left, right);
    }
    case Kind::concat:
      return concat(node, scope);
    case Kind::both: {
      const Value left = child(0);
      return truthy(left) ? child(1) : left;
    }
    case Kind::either: {
      const Value left = child(0);
      return truthy(left) ? left : child(1);
    }
    case Kind::compare:
      return compare_chain(node, scope);
    case Kind::conditional:
      if (truthy(child(1))) return child(0);
      return node.children[2] ? child(2)
                              : Value(Undefined{nullptr, "the other case of an inline if"});
  }
  return None{};
}

Value Interpreter::variable(const Expression& node, const Scope& scope) {
  const Value* found = find(scope, node.name);
  return found != nullptr ? *found : Value(Undefined{nullptr, node.name});
}

Value Interpreter::container(const Expression& node, const Scope& scope) {
  std::vector<Value> elements;
  for (const ExpressionPtr& each : node.children) elements.push_back(evaluate(*each, scope));
  return heap_.list(node.kind == Kind::tuple ? List::Kind::tuple : List::Kind::list,
                    std::move(elements));
}

Value Interpreter::dict(const Expression& node, const Scope& scope) {
  Dict* made = heap_.dict();
  for (std::size_t i = 0; i + 1 < node.children.size(); i += 2) {
    const Value key = evaluate(*node.children[i], scope);
    set_entry(heap_, *made, key, evaluate(*node.children[i + 1], scope));
  }
  return made;
}

Value Interpreter::compare_chain(const Expression& node, const Scope& scope) {
  Value left = evaluate(*node.children[0], scope);
  for (std::size_t i = 0; i < node.operators.size(); ++i) {
    const Value right = evaluate(*node.children[i + 1], scope);
    line_ = node.line;
    if (!compare(heap_, node.operators[i], left, right)) return false;
    left = right;
  }
  return true;
}

Value Interpreter::concat(const Expression& node, const Scope& scope) {
  std::vector<std::string_view> parts;
  for (const ExpressionPtr& each : node.children) {
    parts.push_back(text_of(heap_, evaluate(*each, scope)));
  }
  return join(heap_, parts, {});
}

Value Interpreter::slice(const Expression& node, const Scope& scope) {
  Value parts[4];
  for (std::size_t i = 0; i < 4; ++i) {
    parts[i] = node.children[i] ? evaluate(*node.children[i], scope) : None{};
  }
  line_ = node.line;
  return slice_of(heap_, parts[0], parts[1], parts[2], parts[3]);
}

/// Applies the filter `node` to `input`, without the filters before it.
Value Interpreter::filtered(const Expression& node, const Value& input, const Scope& scope) {
  const Arguments arguments = arguments_of(node, scope);
  line_ = node.line;
  return apply_filter(heap_, node.name, input, arguments);
}

/// Applies the chain of filters that ends with `node`; the first of them has no input of its own.
Value Interpreter::through_filters(const Expression& node, const Value& input, const Scope& scope) {
  if (!node.children[0]) return filtered(node, input, scope);
  return filtered(node, through_filters(*node.children[0], input, scope), scope);
}

Arguments Interpreter::arguments_of(const Expression& node, const Scope& scope) {
  Arguments made;
  for (const Expression::Argument& argument : node.arguments) {
    const Value value = evaluate(*argument.value, scope);
    if (argument.spread == Expression::Spread::list) {
      for (const Value& each : elements_of(heap_, value)) made.positional.push_back(each);
    } else if (argument.spread == Expression::Spread::dict) {
      const Dict* dict = mapping_of(value);
      if (dict == nullptr) fail("'**' needs a dict, not {}", type_name(value));
      for (const auto& [key, each] : dict->entries) {
        const auto* name = std::get_if<std::string_view>(&key);
        if (name == nullptr) fail("'**' needs names as keys, not {}", type_name(key));
        made.named.emplace_back(*name, each);
      }
    } else if (argument.name.empty()) {
      made.positional.push_back(value);
    } else {
      made.named.emplace_back(argument.name, value);
    }
  }
  return made;
}

Value Interpreter::call(const Expression& node, const Scope& scope, const Value* caller) {
  const Expression& callee = *node.children[0];
  Value function, owner;
  const bool method = callee.kind == Kind::attribute;
  if (method) {
    owner = evaluate(*callee.children[0], scope);
    require_defined(owner);
  } else {
    function = evaluate(callee, scope);
  }
  Arguments arguments = arguments_of(node, scope);
  if (caller != nullptr) arguments.named.emplace_back("caller", *caller);
  line_ = node.line;
  if (method) {
    // A method that is called directly needs no bound value.
    if (const auto result = call_method(heap_, owner, callee.name, arguments)) return *result;
    function = attribute_of(heap_, owner, callee.name);
  }
  require_defined(function);
  Function* const* body = std::get_if<Function*>(&function);
  if (body == nullptr) fail("a {} cannot be called", type_name(function));
  return (*body)->body(arguments);
}

}  // namespace moebius::jinja
