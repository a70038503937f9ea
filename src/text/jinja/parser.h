// Parser of the grammar of Jinja 3.1: tokens to a syntax tree. Statements are in parser.cpp,
// expressions in parser_expressions.cpp and parser_postfix.cpp.
#pragma once

#include <initializer_list>
#include <string_view>
#include <vector>

#include "text/jinja/lexer.h"
#include "text/jinja/syntax.h"

namespace moebius::jinja {

class Parser {
 public:
  /// Throws Error naming the line of what is malformed or not supported.
  static Body parse(std::string_view source);

 private:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  // Statements.
  Body statements(std::initializer_list<std::string_view> ends);
  Body block(std::initializer_list<std::string_view> ends);
  Body closed_block(std::string_view end);
  bool statement(std::initializer_list<std::string_view> ends, Body& into);
  Statement tag();
  Statement if_tag();
  Statement for_tag();
  Statement set_tag();
  Statement with_tag();
  Statement macro_tag();
  Statement call_tag();
  Statement filter_tag();
  Statement jump_tag(Statement::Kind kind);
  Signature signature();
  Body function_body(std::string_view end, Signature& signature);
  Target target(bool with_attribute, bool is_loop);
  Target single_target(bool with_attribute);
  std::string name_to_assign();
  [[noreturn]] void fail_unknown_tag(const std::string& name) const;

  // Expressions, in order of increasing precedence.
  ExpressionPtr tuple(bool with_condition = true, bool in_parentheses = false);
  ExpressionPtr expression();
  ExpressionPtr either();
  ExpressionPtr both();
  ExpressionPtr negation();
  ExpressionPtr comparison();
  ExpressionPtr sum();
  ExpressionPtr concatenation();
  ExpressionPtr product();
  ExpressionPtr power();
  ExpressionPtr unary(bool with_filter = true);
  ExpressionPtr primary();
  ExpressionPtr constant(Value value);
  ExpressionPtr list();
  ExpressionPtr dict();
  ExpressionPtr postfix(ExpressionPtr node);
  ExpressionPtr filters_and_tests(ExpressionPtr node);
  ExpressionPtr subscript(ExpressionPtr node);
  ExpressionPtr item_or_slice(ExpressionPtr node);
  ExpressionPtr filter(ExpressionPtr node);
  ExpressionPtr test(ExpressionPtr node);
  ExpressionPtr call(ExpressionPtr node);
  bool argument_follows() const;
  std::string dotted_name();
  std::vector<Expression::Argument> arguments();
  bool tuple_ends() const;

  ExpressionPtr make(Expression::Kind kind, int line) const;
  /// Sets the height of `node`; throws if the tree is too high for recursion.
  ExpressionPtr finish(ExpressionPtr node) const;
  ExpressionPtr binary(Expression::Kind kind, std::string_view op, int line, ExpressionPtr left,
                       ExpressionPtr right) const;

  // Tokens.
  const Token& current() const { return tokens_[at_]; }
  const Token& ahead() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  bool is_name(std::string_view name) const;
  bool is_op(std::string_view op) const;
  Token take();
  bool take_name(std::string_view name);
  bool take_op(std::string_view op);
  void expect_name(std::string_view name);
  void expect_op(std::string_view op);
  std::string expect_any_name();
  void expect(Token::Kind kind);
  [[noreturn]] void fail_unexpected(std::string_view wanted) const;

  /// Scope of one level of recursion; throws if it is too deep.
  class Level;

  std::vector<Token> tokens_;
  std::size_t at_ = 0;
  int depth_ = 0;
  int loops_ = 0;                        ///< enclosing loops within the function
  std::vector<Signature*> functions_{};  ///< enclosing macros and call blocks
};

}  // namespace moebius::jinja
