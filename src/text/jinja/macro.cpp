#include <algorithm>

#include "text/jinja/interpreter.h"
#include "text/jinja/value_text.h"

namespace moebius::jinja {

Function* Interpreter::make_macro(const Statement& statement, const Scope& scope) {
  return heap_.function(statement.signature.name,
                        [this, &statement, &scope](const Arguments& arguments) {
                          return call_macro(statement, scope, arguments);
                        });
}

Value Interpreter::call_macro(const Statement& statement, const Scope& around,
                              const Arguments& arguments) {
  const int line = line_;
  Scope& scope = new_scope(&around);
  bind_parameters(statement.signature, scope, arguments);
  std::string out;
  execute(statement.body, scope, out);
  line_ = line;
  return heap_.text(std::move(out));
}

void Interpreter::bind_parameters(const Signature& signature, Scope& scope,
                                  const Arguments& arguments) {
  const std::size_t count = signature.parameters.size();
  const std::size_t given = std::min(count, arguments.positional.size());
  auto named = arguments.named;
  const auto take = [&named](std::string_view name) -> std::optional<Value> {
    const auto at = std::find_if(named.begin(), named.end(),
                                 [name](const auto& argument) { return argument.first == name; });
    if (at == named.end()) return std::nullopt;
    const Value value = at->second;
    named.erase(at);
    return value;
  };
  const std::size_t first_default = count - signature.defaults.size();
  for (std::size_t i = 0; i < count; ++i) {
    const std::string_view name = signature.parameters[i];
    std::optional<Value> value;
    if (i < given) {
      value = arguments.positional[i];
    } else {
      value = take(name);
    }
    if (!value && i >= first_default)
      value = evaluate(*signature.defaults[i - first_default], scope);
    set(scope, name, value.value_or(Undefined{nullptr, name}));
  }
  if (signature.takes_caller) {
    set(scope, "caller", take("caller").value_or(Undefined{nullptr, "caller"}));
  }
  if (signature.takes_named) {
    Dict* rest = heap_.dict();
    for (const auto& [name, value] : named) rest->entries.emplace_back(name, value);
    set(scope, "kwargs", rest);
  } else if (!named.empty()) {
    fail("the macro '{}' has no parameter '{}'", signature.name, named[0].first);
  }
  if (signature.takes_more) {
    const auto from = arguments.positional.begin() + static_cast<std::ptrdiff_t>(given);
    set(scope, "varargs",
        heap_.list(List::Kind::tuple, std::vector<Value>(from, arguments.positional.end())));
  } else if (arguments.positional.size() > count) {
    fail("the macro '{}' takes no more than {} arguments", signature.name, count);
  }
}

void Interpreter::call_block(const Statement& statement, Scope& scope, std::string& out) {
  const Value caller = make_macro(statement, scope);
  write(out, text_of(heap_, call(*statement.value, scope, &caller)));
}

}  // namespace moebius::jinja
