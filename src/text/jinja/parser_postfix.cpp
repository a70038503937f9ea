// Postfix expressions: attributes, subscripts, calls, filters and tests.
#include "text/jinja/parser.h"

namespace moebius::jinja {

using Kind = Expression::Kind;

ExpressionPtr Parser::postfix(ExpressionPtr node) {
  for (;;) {
    if (is_op(".") || is_op("[")) {
      node = subscript(std::move(node));
    } else if (is_op("(")) {
      node = call(std::move(node));
    } else {
      return node;
    }
  }
}

ExpressionPtr Parser::filters_and_tests(ExpressionPtr node) {
  for (;;) {
    if (take_op("|")) {
      node = filter(std::move(node));
    } else if (is_name("is")) {
      node = test(std::move(node));
    } else if (is_op("(")) {
      node = call(std::move(node));
    } else {
      return node;
    }
  }
}

ExpressionPtr Parser::subscript(ExpressionPtr node) {
  const int line = current().line;
  if (!take_op(".")) return item_or_slice(std::move(node));
  if (current().kind == Token::Kind::integer) {
    return binary(Kind::item, "", line, std::move(node), constant(current().integer));
  }
  ExpressionPtr made = make(Kind::attribute, line);
  made->name = expect_any_name();
  made->children.push_back(std::move(node));
  return finish(std::move(made));
}

ExpressionPtr Parser::item_or_slice(ExpressionPtr node) {
  const int line = take().line;
  ExpressionPtr parts[3];
  int colons = 0;
  while (colons < 3 && !is_op("]")) {
    if (take_op(":")) {
      if (++colons == 3) fail_at(line, "a slice has three parts at most");
    } else if (parts[colons] == nullptr) {
      parts[colons] = expression();
    } else {
      break;
    }
  }
  if (colons == 0 && is_op(",")) fail_at(line, "subscripts with a comma are not supported");
  expect_op("]");
  if (colons == 0) {
    if (parts[0] == nullptr) fail_at(line, "expected an expression between '[' and ']'");
    return binary(Kind::item, "", line, std::move(node), std::move(parts[0]));
  }
  ExpressionPtr made = make(Kind::slice, line);
  made->children.push_back(std::move(node));
  for (ExpressionPtr& part : parts) made->children.push_back(std::move(part));
  return finish(std::move(made));
}

std::string Parser::dotted_name() {
  std::string name = expect_any_name();
  while (take_op(".")) {
    name += '.';
    name += expect_any_name();
  }
  return name;
}

ExpressionPtr Parser::filter(ExpressionPtr node) {
  ExpressionPtr made = make(Kind::filter, current().line);
  made->name = dotted_name();
  made->children.push_back(std::move(node));
  if (is_op("(")) made->arguments = arguments();
  return finish(std::move(made));
}

/// Whether the token can begin the argument of a test without parentheses.
bool Parser::argument_follows() const {
  switch (current().kind) {
    case Token::Kind::string:
    case Token::Kind::integer:
    case Token::Kind::real:
      return true;
    case Token::Kind::name:
      return !is_name("else") && !is_name("or") && !is_name("and");
    default:
      return is_op("[") || is_op("{");
  }
}

ExpressionPtr Parser::test(ExpressionPtr node) {
  const int line = take().line;
  const bool negated = take_name("not");
  ExpressionPtr made = make(Kind::test, line);
  made->name = dotted_name();
  made->children.push_back(std::move(node));
  if (is_op("(")) {
    made->arguments = arguments();
  } else if (argument_follows()) {
    if (is_name("is")) fail_at(line, "tests cannot be chained with 'is'");
    made->arguments.push_back({"", Expression::Spread::none, postfix(primary())});
  }
  made = finish(std::move(made));
  if (!negated) return made;
  ExpressionPtr opposite = make(Kind::unary, line);
  opposite->name = "not";
  opposite->children.push_back(std::move(made));
  return finish(std::move(opposite));
}

ExpressionPtr Parser::call(ExpressionPtr node) {
  ExpressionPtr made = make(Kind::call, current().line);
  made->children.push_back(std::move(node));
  made->arguments = arguments();
  return finish(std::move(made));
}

std::vector<Expression::Argument> Parser::arguments() {
  using Spread = Expression::Spread;
  const int line = current().line;
  std::vector<Expression::Argument> made;
  bool named = false, spread_list = false, spread_dict = false;
  expect_op("(");
  while (!is_op(")")) {
    if (!made.empty()) {
      expect_op(",");
      if (is_op(")")) break;
    }
    Expression::Argument argument;
    bool valid = !spread_dict;
    if (take_op("*")) {
      argument.spread = Spread::list;
      valid = valid && !spread_list;
      spread_list = true;
    } else if (take_op("**")) {
      argument.spread = Spread::dict;
      spread_dict = true;
    } else if (current().kind == Token::Kind::name && ahead().kind == Token::Kind::op &&
               ahead().text == "=") {
      argument.name = take().text;
      take();
      named = true;
    } else {
      valid = valid && !named && !spread_list;
    }
    if (!valid) fail_at(line, "arguments by position come before those by name");
    argument.value = expression();
    made.push_back(std::move(argument));
  }
  expect_op(")");
  return made;
}

}  // namespace moebius::jinja
