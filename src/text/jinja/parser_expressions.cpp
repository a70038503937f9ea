#include <algorithm>
#include <array>

#include "text/jinja/parser.h"
#include "text/jinja/parser_level.h"

namespace moebius::jinja {

using Kind = Expression::Kind;

ExpressionPtr Parser::make(Kind kind, int line) const {
  auto node = std::make_unique<Expression>();
  node->kind = kind;
  node->line = line;
  return node;
}

ExpressionPtr Parser::finish(ExpressionPtr node) const {
  int below = 0;
  for (const ExpressionPtr& child : node->children) {
    if (child) below = std::max(below, child->height);
  }
  for (const auto& argument : node->arguments) below = std::max(below, argument.value->height);
  node->height = below + 1;
  if (node->height > kMaxHeight) fail_at(node->line, "the expression nests too deeply");
  return node;
}

ExpressionPtr Parser::binary(Kind kind, std::string_view op, int line, ExpressionPtr left,
                             ExpressionPtr right) const {
  ExpressionPtr node = make(kind, line);
  node->name = op;
  node->children.push_back(std::move(left));
  node->children.push_back(std::move(right));
  return finish(std::move(node));
}

bool Parser::tuple_ends() const {
  return current().kind == Token::Kind::output_end || current().kind == Token::Kind::block_end ||
         is_op(")");
}

ExpressionPtr Parser::tuple(bool with_condition, bool in_parentheses) {
  const int line = current().line;
  ExpressionPtr row = make(Kind::tuple, line);
  bool is_tuple = false;
  while (!tuple_ends()) {
    row->children.push_back(with_condition ? expression() : either());
    if (!take_op(",")) break;
    is_tuple = true;
  }
  if (!is_tuple && row->children.size() == 1) return std::move(row->children[0]);
  if (row->children.empty() && !in_parentheses) fail_unexpected("an expression");
  return finish(std::move(row));
}

ExpressionPtr Parser::expression() {
  const Level level(*this);
  const int line = current().line;
  ExpressionPtr node = either();
  while (take_name("if")) {
    ExpressionPtr chosen = make(Kind::conditional, line);
    chosen->children.push_back(std::move(node));
    chosen->children.push_back(either());
    chosen->children.push_back(take_name("else") ? expression() : nullptr);
    node = finish(std::move(chosen));
  }
  return node;
}

ExpressionPtr Parser::either() {
  ExpressionPtr node = both();
  while (is_name("or")) {
    const int line = take().line;
    node = binary(Kind::either, "or", line, std::move(node), both());
  }
  return node;
}

ExpressionPtr Parser::both() {
  ExpressionPtr node = negation();
  while (is_name("and")) {
    const int line = take().line;
    node = binary(Kind::both, "and", line, std::move(node), negation());
  }
  return node;
}

ExpressionPtr Parser::negation() {
  if (!is_name("not")) return comparison();
  const Level level(*this);
  ExpressionPtr node = make(Kind::unary, take().line);
  node->name = "not";
  node->children.push_back(negation());
  return finish(std::move(node));
}

ExpressionPtr Parser::comparison() {
  constexpr std::array<std::string_view, 6> kSigns = {"==", "!=", "<", "<=", ">", ">="};
  ExpressionPtr node = make(Kind::compare, current().line);
  node->children.push_back(sum());
  for (;;) {
    if (current().kind == Token::Kind::op &&
        std::find(kSigns.begin(), kSigns.end(), current().text) != kSigns.end()) {
      node->operators.push_back(take().text);
    } else if (take_name("in")) {
      node->operators.push_back("in");
    } else if (is_name("not") && ahead().kind == Token::Kind::name && ahead().text == "in") {
      take();
      take();
      node->operators.push_back("not in");
    } else {
      break;
    }
    node->children.push_back(sum());
  }
  if (node->operators.empty()) return std::move(node->children[0]);
  return finish(std::move(node));
}

ExpressionPtr Parser::sum() {
  ExpressionPtr node = concatenation();
  while (is_op("+") || is_op("-")) {
    const Token op = take();
    node = binary(Kind::binary, op.text, op.line, std::move(node), concatenation());
  }
  return node;
}

ExpressionPtr Parser::concatenation() {
  ExpressionPtr node = make(Kind::concat, current().line);
  node->children.push_back(product());
  while (take_op("~")) node->children.push_back(product());
  if (node->children.size() == 1) return std::move(node->children[0]);
  return finish(std::move(node));
}

ExpressionPtr Parser::product() {
  ExpressionPtr node = power();
  while (is_op("*") || is_op("/") || is_op("//") || is_op("%")) {
    const Token op = take();
    node = binary(Kind::binary, op.text, op.line, std::move(node), power());
  }
  return node;
}

ExpressionPtr Parser::power() {
  ExpressionPtr node = unary();
  while (is_op("**")) {
    const Token op = take();
    node = binary(Kind::binary, op.text, op.line, std::move(node), unary());
  }
  return node;
}

ExpressionPtr Parser::unary(bool with_filter) {
  ExpressionPtr node;
  if (is_op("-") || is_op("+")) {
    const Level level(*this);
    const Token op = take();
    node = make(Kind::unary, op.line);
    node->name = op.text;
    node->children.push_back(unary(/*with_filter=*/false));
    node = finish(std::move(node));
  } else {
    node = primary();
  }
  node = postfix(std::move(node));
  return with_filter ? filters_and_tests(std::move(node)) : std::move(node);
}

ExpressionPtr Parser::constant(Value value) {
  ExpressionPtr node = make(Kind::constant, take().line);
  node->constant = value;
  return node;
}

ExpressionPtr Parser::primary() {
  const Token& token = current();
  switch (token.kind) {
    case Token::Kind::integer:
      return constant(token.integer);
    case Token::Kind::real:
      return constant(token.real);
    case Token::Kind::string: {
      ExpressionPtr node = make(Kind::constant, token.line);
      while (current().kind == Token::Kind::string) node->name += take().text;
      node->constant = std::string_view(node->name);
      return node;
    }
    case Token::Kind::name: {
      if (is_name("true") || is_name("True")) return constant(true);
      if (is_name("false") || is_name("False")) return constant(false);
      if (is_name("none") || is_name("None")) return constant(None{});
      ExpressionPtr node = make(Kind::variable, token.line);
      node->name = take().text;
      for (Signature* function : functions_) {
        function->takes_caller |= node->name == "caller";
        function->takes_more |= node->name == "varargs";
        function->takes_named |= node->name == "kwargs";
      }
      return node;
    }
    default:
      break;
  }
  if (is_op("[")) return list();
  if (is_op("{")) return dict();
  if (!is_op("(")) fail_unexpected("an expression");
  take();
  ExpressionPtr node = tuple(/*with_condition=*/true, /*in_parentheses=*/true);
  expect_op(")");
  return node;
}

ExpressionPtr Parser::list() {
  ExpressionPtr node = make(Kind::list, take().line);
  while (!is_op("]")) {
    if (!node->children.empty()) expect_op(",");
    if (is_op("]")) break;
    node->children.push_back(expression());
  }
  expect_op("]");
  return finish(std::move(node));
}

ExpressionPtr Parser::dict() {
  ExpressionPtr node = make(Kind::dict, take().line);
  while (!is_op("}")) {
    if (!node->children.empty()) expect_op(",");
    if (is_op("}")) break;
    node->children.push_back(expression());
    expect_op(":");
    node->children.push_back(expression());
  }
  expect_op("}");
  return finish(std::move(node));
}

}  // namespace moebius::jinja
