#include "text/jinja/interpreter.h"

#include <algorithm>

#include "text/jinja/compare.h"
#include "text/jinja/sequence.h"
#include "text/jinja/value_text.h"

namespace moebius::jinja {

using Kind = Statement::Kind;

Interpreter::Interpreter(Heap& heap, const Variables& variables)
    : heap_(heap), globals_(&new_scope(nullptr)) {
  globals_->variables = global_functions(heap);
  for (const auto& [name, value] : variables) set(*globals_, name, value);
}

std::string Interpreter::run(const Body& body) {
  std::string out;
  execute(body, new_scope(globals_), out);
  return out;
}

Interpreter::Scope& Interpreter::new_scope(const Scope* parent) {
  heap_.reserve(sizeof(Scope));
  return scopes_.emplace_back(Scope{parent, {}});
}

const Value* Interpreter::find(const Scope& scope, std::string_view name) {
  for (const Scope* at = &scope; at != nullptr; at = at->parent) {
    for (const auto& [other, value] : at->variables) {
      if (other == name) return &value;
    }
  }
  return nullptr;
}

void Interpreter::set(Scope& scope, std::string_view name, const Value& value) {
  for (auto& [other, old] : scope.variables) {
    if (other == name) {
      old = value;
      return;
    }
  }
  heap_.reserve(sizeof(scope.variables[0]));
  scope.variables.emplace_back(name, value);
}

void Interpreter::assign(Scope& scope, const Target& target, const Value& value) {
  if (target.is_tuple) {
    const std::vector<Value> parts = elements_of(heap_, value);
    if (parts.size() != target.parts.size()) {
      fail("{} values cannot be assigned to {} names", parts.size(), target.parts.size());
    }
    for (std::size_t i = 0; i < parts.size(); ++i) assign(scope, target.parts[i], parts[i]);
    return;
  }
  if (target.attribute.empty()) return set(scope, target.name, value);
  const Value* found = find(scope, target.name);
  Dict* const* holder = found != nullptr ? std::get_if<Dict*>(found) : nullptr;
  if (holder == nullptr || !(*holder)->is_namespace) {
    fail("'{}.{}' cannot be set: only attributes of a namespace can", target.name,
         target.attribute);
  }
  if (target.attribute.starts_with('_')) {
    fail("a namespace cannot hold '{}': the name begins with an underscore", target.attribute);
  }
  set_entry(heap_, **holder, std::string_view(target.attribute), value);
}

void Interpreter::write(std::string& out, std::string_view text) {
  heap_.reserve(text.size());
  out += text;
}

Interpreter::Flow Interpreter::execute(const Body& body, Scope& scope, std::string& out) {
  const Heap::Nested nested(heap_);
  for (const Statement& statement : body) {
    heap_.spend();
    const Flow flow = execute(statement, scope, out);
    if (flow != Flow::normal) return flow;
  }
  return Flow::normal;
}

Interpreter::Flow Interpreter::execute(const Statement& statement, Scope& scope, std::string& out) {
  line_ = statement.line;
  switch (statement.kind) {
    case Kind::text:
      write(out, statement.text);
      break;
    case Kind::output:
      write(out, text_of(heap_, evaluate(*statement.value, scope)));
      break;
    case Kind::branches:
      return branches(statement, scope, out);
    case Kind::loop:
      return loop(statement, scope, out);
    case Kind::set:
      assign(scope, statement.target, evaluate(*statement.value, scope));
      break;
    case Kind::capture:
      return capture(statement, scope);
    case Kind::scope:
      return with(statement, scope, out);
    case Kind::filter:
      return filter_block(statement, scope, out);
    case Kind::macro:
      set(scope, statement.signature.name, make_macro(statement, scope));
      break;
    case Kind::call:
      call_block(statement, scope, out);
      break;
    case Kind::leave:
      return Flow::leave;
    case Kind::proceed:
      return Flow::proceed;
  }
  return Flow::normal;
}

Interpreter::Flow Interpreter::branches(const Statement& statement, Scope& scope,
                                        std::string& out) {
  for (const Statement::Branch& branch : statement.branches) {
    if (!branch.condition || truthy(evaluate(*branch.condition, scope))) {
      return execute(branch.body, scope, out);
    }
  }
  return Flow::normal;
}

/// The state of a loop before its first element.
Loop* Interpreter::make_loop(const Statement& statement, Scope& scope) {
  Loop* loop = heap_.loop();
  const Value source = evaluate(*statement.value, scope);
  List* const* list = std::get_if<List*>(&source);
  const bool in_place = list != nullptr && (*list)->kind != List::Kind::iterator;
  const std::vector<Value>* elements = in_place ? &(*list)->elements : nullptr;
  if (!in_place) elements = &heap_.list(List::Kind::list, elements_of(heap_, source))->elements;
  if (!statement.condition) {
    loop->elements = elements;
    return loop;
  }
  loop->elements = &loop->drawn;
  loop->draw = [this, &statement, &scope, elements, next = std::size_t{0}]() mutable {
    while (next < elements->size()) {
      const Value element = (*elements)[next++];
      heap_.reserve(sizeof(Value));
      Scope& test = new_scope(&scope);
      assign(test, statement.target, element);
      if (truthy(evaluate(*statement.condition, test))) return std::optional<Value>(element);
    }
    return std::optional<Value>();
  };
  return loop;
}

Interpreter::Flow Interpreter::loop(const Statement& statement, Scope& scope, std::string& out) {
  Loop* loop = make_loop(statement, scope);
  if (!loop->reach(0)) return execute(statement.otherwise, scope, out);
  for (std::size_t i = 0; loop->reach(i); ++i) {
    heap_.spend();
    loop->index0 = i;
    Scope& inside = new_scope(&scope);
    set(inside, "loop", loop);
    assign(inside, statement.target, (*loop->elements)[i]);
    if (execute(statement.body, inside, out) == Flow::leave) break;
  }
  return Flow::normal;
}

Interpreter::Flow Interpreter::capture(const Statement& statement, Scope& scope) {
  std::string text;
  Scope& inside = new_scope(&scope);
  const Flow flow = execute(statement.body, inside, text);
  if (flow != Flow::normal) return flow;
  const Value captured = heap_.text(std::move(text));
  assign(scope, statement.target,
         statement.value ? through_filters(*statement.value, captured, inside) : captured);
  return Flow::normal;
}

Interpreter::Flow Interpreter::with(const Statement& statement, Scope& scope, std::string& out) {
  Scope& inside = new_scope(&scope);
  for (std::size_t i = 0; i < statement.targets.size(); ++i) {
    assign(inside, statement.targets[i], evaluate(*statement.values[i], scope));
  }
  return execute(statement.body, inside, out);
}

Interpreter::Flow Interpreter::filter_block(const Statement& statement, Scope& scope,
                                            std::string& out) {
  std::string text;
  Scope& inside = new_scope(&scope);
  const Flow flow = execute(statement.body, inside, text);
  if (flow != Flow::normal) return flow;
  write(out,
        text_of(heap_, through_filters(*statement.value, heap_.text(std::move(text)), inside)));
  return Flow::normal;
}

}  // namespace moebius::jinja
