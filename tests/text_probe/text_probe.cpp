// Lets the tests in Python look at tokenizers and chat templates without a process for each text.
// Test-only. A line of JSON on stdin, a line of JSON on stdout; {"error": ...} of what fails.
//   {"tokenizer": MODEL, "text": TEXT, "special": bool}   {"ids": [...], "offsets": [[b, e], ...],
//                                                           "plain": ids of encode without offsets}
//   {"tokenizer": MODEL, "ids": [...]}                    {"text": decoded}
//   {"template": SOURCE, "variables": {...}}               {"text": rendered}
//   {"model": FOLDER, "messages": [...], "tools": [...], "documents": [...],
//    "add_generation_prompt": bool, "variables": {...}}     the same; all but the first two
//    optional
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "hub/resolve.h"
#include "text/chat_template.h"
#include "text/jinja/template.h"
#include "text/tokenizer.h"

namespace moebius {
namespace {

const Json* find(const Json& request, const char* key) {
  const auto at = request.find(key);
  return at == request.end() || at->is_null() ? nullptr : &*at;
}

const Tokenizer& tokenizer_of(const std::string& model) {
  static std::map<std::string, Tokenizer> loaded;
  if (const auto at = loaded.find(model); at != loaded.end()) return at->second;
  const Context ctx;
  const fs::path folder = resolve_model(model, ModelParts::tokenizer, ctx);
  return loaded.emplace(model, Tokenizer::load(folder)).first->second;
}

Json tokenize(const Json& request) {
  const Tokenizer& tokenizer = tokenizer_of(request.at("tokenizer").get<std::string>());
  if (const Json* ids = find(request, "ids")) {
    return {{"text", tokenizer.decode(ids->get<std::vector<std::int32_t>>(), false)}};
  }
  const auto text = request.at("text").get<std::string>();
  const bool special = request.at("special").get<bool>();
  const Encoding encoding = tokenizer.encode_with_offsets(text, special);
  Json offsets = Json::array();
  for (const CharacterRange& range : encoding.offsets) offsets.push_back({range.begin, range.end});
  return {{"ids", encoding.ids}, {"offsets", offsets}, {"plain", tokenizer.encode(text, special)}};
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
    const Json request = parse_json(line, "request");
    return request.contains("tokenizer") ? tokenize(request) : Json{{"text", render(request)}};
  } catch (const Error& error) {
    return {{"error", error.what()}};
  }
}

}  // namespace
}  // namespace moebius

int main() {
  for (std::string line; std::getline(std::cin, line);) {
    std::cout << moebius::answer(line).dump(-1, ' ', false,
                                            nlohmann::json::error_handler_t::replace)
              << std::endl;
  }
}
