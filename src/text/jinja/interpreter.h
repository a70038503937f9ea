// Interpreter of the syntax tree of a template. Statements are in interpreter.cpp, expressions in
// evaluate.cpp, macros in macro.cpp.
#pragma once

#include <deque>
#include <string>

#include "text/jinja/globals.h"
#include "text/jinja/syntax.h"

namespace moebius::jinja {

class Interpreter {
 public:
  Interpreter(Heap& heap, const Variables& variables);

  std::string run(const Body& body);
  /// Line of the statement or operator that was evaluated last.
  int line() const { return line_; }

 private:
  /// Variables of a block; other names are looked up in the enclosing block.
  struct Scope {
    const Scope* parent = nullptr;
    Variables variables;
  };
  enum class Flow { normal, leave, proceed };

  Scope& new_scope(const Scope* parent);
  static const Value* find(const Scope& scope, std::string_view name);
  void set(Scope& scope, std::string_view name, const Value& value);
  void assign(Scope& scope, const Target& target, const Value& value);
  void write(std::string& out, std::string_view text);

  Flow execute(const Body& body, Scope& scope, std::string& out);
  Flow execute(const Statement& statement, Scope& scope, std::string& out);
  Flow branches(const Statement& statement, Scope& scope, std::string& out);
  Flow loop(const Statement& statement, Scope& scope, std::string& out);
  Loop* make_loop(const Statement& statement, Scope& scope);
  Flow capture(const Statement& statement, Scope& scope);
  Flow with(const Statement& statement, Scope& scope, std::string& out);
  Flow filter_block(const Statement& statement, Scope& scope, std::string& out);
  void call_block(const Statement& statement, Scope& scope, std::string& out);

  Function* make_macro(const Statement& statement, const Scope& scope);
  Value call_macro(const Statement& statement, const Scope& around, const Arguments& arguments);
  void bind_parameters(const Signature& signature, Scope& scope, const Arguments& arguments);

  Value evaluate(const Expression& node, const Scope& scope);
  Value variable(const Expression& node, const Scope& scope);
  Value container(const Expression& node, const Scope& scope);
  Value dict(const Expression& node, const Scope& scope);
  Value compare_chain(const Expression& node, const Scope& scope);
  Value concat(const Expression& node, const Scope& scope);
  Value slice(const Expression& node, const Scope& scope);
  Value call(const Expression& node, const Scope& scope, const Value* caller = nullptr);
  Value filtered(const Expression& node, const Value& input, const Scope& scope);
  Value through_filters(const Expression& node, const Value& input, const Scope& scope);
  Arguments arguments_of(const Expression& node, const Scope& scope);

  Heap& heap_;
  std::deque<Scope> scopes_;
  Scope* globals_;
  int line_ = 1;
};

}  // namespace moebius::jinja
