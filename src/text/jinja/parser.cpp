#include "text/jinja/parser.h"

#include <algorithm>

#include "text/jinja/parser_level.h"

namespace moebius::jinja {
Body Parser::parse(std::string_view source) {
  return Parser(tokenize(source)).statements({});
}

/// Parses statements up to a tag that begins with one of `ends`, which stays the current token, or
/// to the end of the template.
Body Parser::statements(std::initializer_list<std::string_view> ends) {
  const Level level(*this);
  Body body;
  while (current().kind != Token::Kind::end) {
    if (!statement(ends, body)) return body;
  }
  return body;
}

bool Parser::statement(std::initializer_list<std::string_view> ends, Body& into) {
  Statement made;
  made.line = current().line;
  if (current().kind == Token::Kind::text) {
    made.text = take().text;
  } else if (current().kind == Token::Kind::output_begin) {
    take();
    made.kind = Statement::Kind::output;
    made.value = tuple();
    expect(Token::Kind::output_end);
  } else {
    expect(Token::Kind::block_begin);
    if (std::any_of(ends.begin(), ends.end(), [&](auto end) { return is_name(end); })) return false;
    made = tag();
    expect(Token::Kind::block_end);
  }
  into.push_back(std::move(made));
  return true;
}

Body Parser::block(std::initializer_list<std::string_view> ends) {
  const int line = current().line;
  take_op(":");
  expect(Token::Kind::block_end);
  Body body = statements(ends);
  if (current().kind == Token::Kind::end) {
    fail_at(line, fmt::format("the template ends before '{}'", *(ends.end() - 1)));
  }
  return body;
}

Body Parser::closed_block(std::string_view end) {
  Body body = block({end});
  expect_name(end);
  return body;
}

void Parser::fail_unknown_tag(const std::string& name) const {
  constexpr std::string_view kOthers[] = {"include",    "import", "from", "extends", "block",
                                          "autoescape", "print",  "do",   "trans",   "debug"};
  const bool known = std::find(std::begin(kOthers), std::end(kOthers), name) != std::end(kOthers);
  fail_at(current().line, known ? fmt::format("the tag '{}' is not supported", name)
                                : fmt::format("unknown or misplaced tag '{}'", name));
}

Statement Parser::tag() {
  const int line = current().line;
  if (current().kind != Token::Kind::name) fail_unexpected("the name of a tag");
  const std::string name = current().text;
  Statement made;
  if (name == "if") {
    made = if_tag();
  } else if (name == "for") {
    made = for_tag();
  } else if (name == "set") {
    made = set_tag();
  } else if (name == "with") {
    made = with_tag();
  } else if (name == "macro") {
    made = macro_tag();
  } else if (name == "call") {
    made = call_tag();
  } else if (name == "filter") {
    made = filter_tag();
  } else if (name == "break") {
    made = jump_tag(Statement::Kind::leave);
  } else if (name == "continue") {
    made = jump_tag(Statement::Kind::proceed);
  } else if (name == "generation") {
    // `generation` marks the assistant's text for training; it renders its body in a scope.
    take();
    Signature nothing;
    made.kind = Statement::Kind::scope;
    made.body = function_body("endgeneration", nothing);
  } else {
    fail_unknown_tag(name);
  }
  made.line = line;
  return made;
}

Statement Parser::jump_tag(Statement::Kind kind) {
  if (loops_ == 0) fail_at(current().line, fmt::format("'{}' outside of a loop", current().text));
  take();
  Statement made;
  made.kind = kind;
  return made;
}

Statement Parser::if_tag() {
  Statement made;
  made.kind = Statement::Kind::branches;
  take();
  for (;;) {
    ExpressionPtr condition = tuple(/*with_condition=*/false);
    made.branches.push_back({std::move(condition), block({"elif", "else", "endif"})});
    if (!take_name("elif")) break;
  }
  if (take_name("else")) {
    made.branches.push_back({nullptr, closed_block("endif")});
  } else {
    expect_name("endif");
  }
  return made;
}

Statement Parser::for_tag() {
  Statement made;
  made.kind = Statement::Kind::loop;
  take();
  made.target = target(/*with_attribute=*/false, /*is_loop=*/true);
  expect_name("in");
  made.value = tuple(/*with_condition=*/false);
  if (take_name("if")) made.condition = expression();
  if (is_name("recursive")) fail_at(current().line, "recursive loops are not supported");
  ++loops_;
  made.body = block({"else", "endfor"});
  --loops_;
  if (take_name("else")) {
    made.otherwise = closed_block("endfor");
  } else {
    expect_name("endfor");
  }
  return made;
}

Statement Parser::set_tag() {
  Statement made;
  take();
  made.target = target(/*with_attribute=*/true, /*is_loop=*/false);
  if (take_op("=")) {
    made.kind = Statement::Kind::set;
    made.value = tuple();
    return made;
  }
  made.kind = Statement::Kind::capture;
  while (take_op("|")) made.value = filter(std::move(made.value));
  made.body = closed_block("endset");
  return made;
}

Statement Parser::with_tag() {
  Statement made;
  made.kind = Statement::Kind::scope;
  take();
  while (current().kind != Token::Kind::block_end) {
    if (!made.targets.empty()) expect_op(",");
    made.targets.push_back(target(/*with_attribute=*/false, /*is_loop=*/false));
    expect_op("=");
    made.values.push_back(expression());
  }
  made.body = closed_block("endwith");
  return made;
}

Signature Parser::signature() {
  Signature made;
  expect_op("(");
  while (!is_op(")")) {
    if (!made.parameters.empty()) expect_op(",");
    made.parameters.push_back(name_to_assign());
    if (take_op("=")) {
      made.defaults.push_back(expression());
    } else if (!made.defaults.empty()) {
      fail_at(current().line, "a parameter without default follows one with");
    }
  }
  expect_op(")");
  return made;
}

/// Records in `signature` which of the special variables the body uses.
Body Parser::function_body(std::string_view end, Signature& signature) {
  functions_.push_back(&signature);
  const int loops = std::exchange(loops_, 0);
  Body body = closed_block(end);
  loops_ = loops;
  functions_.pop_back();
  const auto declares = [&](std::string_view name) {
    return std::find(signature.parameters.begin(), signature.parameters.end(), name) !=
           signature.parameters.end();
  };
  signature.takes_caller &= !declares("caller");
  signature.takes_more &= !declares("varargs");
  signature.takes_named &= !declares("kwargs");
  return body;
}

Statement Parser::macro_tag() {
  Statement made;
  made.kind = Statement::Kind::macro;
  take();
  std::string name = name_to_assign();
  made.signature = signature();
  made.signature.name = std::move(name);
  made.body = function_body("endmacro", made.signature);
  return made;
}

Statement Parser::call_tag() {
  Statement made;
  made.kind = Statement::Kind::call;
  const int line = take().line;
  if (is_op("(")) made.signature = signature();
  made.signature.name = "caller";
  made.value = expression();
  if (made.value->kind != Expression::Kind::call) fail_at(line, "expected a call");
  made.body = function_body("endcall", made.signature);
  return made;
}

Statement Parser::filter_tag() {
  Statement made;
  made.kind = Statement::Kind::filter;
  take();
  made.value = filter(nullptr);
  while (take_op("|")) made.value = filter(std::move(made.value));
  made.body = closed_block("endfilter");
  return made;
}

std::string Parser::name_to_assign() {
  const int line = current().line;
  std::string name = expect_any_name();
  for (const std::string_view fixed : {"true", "false", "none", "True", "False", "None"}) {
    if (name == fixed) fail_at(line, fmt::format("can't assign to '{}'", name));
  }
  return name;
}

Target Parser::single_target(bool with_attribute) {
  const Level level(*this);
  Target made;
  made.line = current().line;
  if (take_op("(")) {
    made = target(with_attribute, /*is_loop=*/false);
    expect_op(")");
    return made;
  }
  made.name = name_to_assign();
  if (with_attribute && take_op(".")) made.attribute = expect_any_name();
  if (made.name == "loop" && loops_ > 0 && made.attribute.empty()) {
    fail_at(made.line, "can't assign to the variable 'loop' in a loop");
  }
  return made;
}

Target Parser::target(bool with_attribute, bool is_loop) {
  Target made = single_target(with_attribute);
  if (is_loop && made.name == "loop") fail_at(made.line, "can't assign to the variable 'loop'");
  if (!is_op(",")) return made;
  Target row;
  row.is_tuple = true;
  row.line = made.line;
  row.parts.push_back(std::move(made));
  while (take_op(",")) {
    if (current().kind != Token::Kind::name && !is_op("(")) break;
    if (is_name("in")) break;
    row.parts.push_back(single_target(with_attribute));
  }
  return row;
}

}  // namespace moebius::jinja
