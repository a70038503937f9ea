#include "text/jinja/template.h"

#include <nlohmann/json.hpp>

#include "base/utf8.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/parser.h"

namespace moebius::jinja {
namespace {

constexpr std::size_t kMaxSource = std::size_t{4} << 20;

}  // namespace

struct Template::Parsed {
  std::string name;
  Body body;
};

Template Template::parse(std::string_view source, std::string name) {
  if (source.size() > kMaxSource) fail("{}: the template is larger than 4 MiB", name);
  check_utf8(source, name);
  auto parsed = std::make_shared<Parsed>();
  parsed->name = std::move(name);
  try {
    parsed->body = Parser::parse(source);
  } catch (const Error& error) {
    throw Error(fmt::format("{}, {}", parsed->name, error.what()), error.hint());
  }
  return Template(std::move(parsed));
}

std::string Template::render(const Json& variables, const Limits& limits) const {
  Heap heap(limits);
  Variables values;
  for (const auto& [name, value] : variables.items()) {
    values.emplace_back(name, value_of(heap, value));
  }
  Interpreter interpreter(heap, values);
  try {
    return interpreter.run(parsed_->body);
  } catch (const Raised&) {
    throw;
  } catch (const Error& error) {
    throw Error(fmt::format("{}, line {}: {}", parsed_->name, interpreter.line(), error.what()),
                error.hint());
  }
}

std::string render(std::string_view source, const Json& variables, const Limits& limits) {
  return Template::parse(source, "template").render(variables, limits);
}

}  // namespace moebius::jinja
