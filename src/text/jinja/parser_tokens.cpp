#include "text/jinja/parser.h"

namespace moebius::jinja {
namespace {

std::string describe(const Token& token) {
  switch (token.kind) {
    case Token::Kind::text:
      return "text";
    case Token::Kind::block_begin:
      return "'{%'";
    case Token::Kind::block_end:
      return "'%}'";
    case Token::Kind::output_begin:
      return "'{{'";
    case Token::Kind::output_end:
      return "'}}'";
    case Token::Kind::string:
      return "a string";
    case Token::Kind::integer:
    case Token::Kind::real:
      return "a number";
    case Token::Kind::end:
      return "the end of the template";
    default:
      return "'" + token.text + "'";
  }
}

}  // namespace

bool Parser::is_name(std::string_view name) const {
  return current().kind == Token::Kind::name && current().text == name;
}

bool Parser::is_op(std::string_view op) const {
  return current().kind == Token::Kind::op && current().text == op;
}

Token Parser::take() {
  Token token = std::move(tokens_[at_]);
  tokens_[at_].kind = token.kind;
  tokens_[at_].line = token.line;
  if (at_ + 1 < tokens_.size()) ++at_;
  return token;
}

bool Parser::take_name(std::string_view name) {
  if (!is_name(name)) return false;
  take();
  return true;
}

bool Parser::take_op(std::string_view op) {
  if (!is_op(op)) return false;
  take();
  return true;
}

void Parser::expect_name(std::string_view name) {
  if (!take_name(name)) fail_unexpected(fmt::format("'{}'", name));
}

void Parser::expect_op(std::string_view op) {
  if (!take_op(op)) fail_unexpected(fmt::format("'{}'", op));
}

std::string Parser::expect_any_name() {
  if (current().kind != Token::Kind::name) fail_unexpected("a name");
  return take().text;
}

void Parser::expect(Token::Kind kind) {
  if (current().kind != kind) fail_unexpected(describe(Token{kind, "", 0, 0, 1}));
  take();
}

void Parser::fail_unexpected(std::string_view wanted) const {
  fail_at(current().line, fmt::format("expected {}, found {}", wanted, describe(current())));
}

}  // namespace moebius::jinja
