// Lets the tests in Python compare templates with Jinja2 and transformers. Test-only.
// A line of JSON on stdin, a line of JSON on stdout: {"text": ...} or {"error": ...}.
//   {"template": SOURCE, "variables": {...}}
//   {"model": FOLDER, "messages": [...], "tools": [...], "documents": [...],
//    "add_generation_prompt": bool, "variables": {...}}     all but the first two optional
#include <iostream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "text/chat_template.h"
#include "text/jinja/template.h"

namespace moebius {
namespace {

const Json* find(const Json& request, const char* key) {
  const auto at = request.find(key);
  return at == request.end() || at->is_null() ? nullptr : &*at;
}

std::string render(const Json& request) {
  if (const Json* source = find(request, "template")) {
    return jinja::render(source->get<std::string>(), request.at("variables"));
  }
  const Json* prompt = find(request, "add_generation_prompt");
  const ChatOptions options{prompt != nullptr && prompt->get<bool>(), find(request, "tools"),
                            find(request, "documents"), find(request, "variables")};
  return ChatTemplate::load(request.at("model").get<std::string>())
      .render(request.at("messages"), options);
}

Json answer(const std::string& line) {
  try {
    return {{"text", render(parse_json(line, "request"))}};
  } catch (const Error& error) {
    return {{"error", error.what()}};
  }
}

}  // namespace
}  // namespace moebius

int main() {
  for (std::string line; std::getline(std::cin, line);) {
    std::cout << moebius::answer(line).dump() << std::endl;
  }
}
