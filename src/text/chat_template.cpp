#include "text/chat_template.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "text/jinja/template.h"

namespace moebius {
namespace {

constexpr std::size_t kMaxFile = std::size_t{64} << 20;

using Templates = std::map<std::string, jinja::Template>;

/// A file of the model as JSON; null if it isn't there.
Json json_of(const fs::path& file) {
  if (!fs::exists(file)) return nullptr;
  return parse_json(read_file(file, kMaxFile), file.string());
}

void add_file(Templates& templates, const std::string& name, const fs::path& file) {
  templates.emplace(name, jinja::Template::parse(read_file(file, kMaxFile), file.string()));
}

Templates from_jinja_files(const fs::path& model) {
  Templates templates;
  if (const fs::path file = model / "chat_template.jinja"; fs::exists(file)) {
    add_file(templates, "default", file);
  }
  const fs::path more = model / "additional_chat_templates";
  if (fs::is_directory(more)) {
    for (const auto& entry : fs::directory_iterator(more)) {
      const fs::path& file = entry.path();
      if (file.extension() == ".jinja") add_file(templates, file.stem().string(), file);
    }
  }
  return templates;
}

/// The key "chat_template" of a JSON file: a template, or a list of templates with names.
Templates from_json(const Json& json, const std::string& where) {
  Templates templates;
  if (!json.is_object()) return templates;
  const JsonView view(json, where);
  if (!view.has("chat_template")) return templates;
  const std::string name = where + ": chat_template";
  if (!json.at("chat_template").is_array()) {
    templates.emplace("default", jinja::Template::parse(view.string("chat_template"), name));
    return templates;
  }
  for (const JsonView& each : view.objects("chat_template")) {
    const std::string key = each.string("name");
    templates.insert_or_assign(
        key, jinja::Template::parse(each.string("template"), fmt::format("{} \"{}\"", name, key)));
  }
  return templates;
}

Templates find_templates(const fs::path& model, const Json& tokenizer_config) {
  Templates found = from_jinja_files(model);
  if (found.empty()) {
    found = from_json(tokenizer_config, (model / "tokenizer_config.json").string());
  }
  const fs::path legacy = model / "chat_template.json";
  if (found.empty()) found = from_json(json_of(legacy), legacy.string());
  if (found.empty()) {
    throw Error(fmt::format("{}: the model has no chat template: no chat_template.jinja, no "
                            "\"chat_template\" in tokenizer_config.json or chat_template.json",
                            model.string()),
                "use an instruction-tuned model, or put its template into chat_template.jinja");
  }
  return found;
}

/// A special token as text; it may be written with its properties.
std::optional<std::string> token_text(const Json& token) {
  if (token.is_string()) return token.get<std::string>();
  if (!token.is_object()) return std::nullopt;
  const auto content = token.find("content");
  if (content == token.end() || !content->is_string()) return std::nullopt;
  return content->get<std::string>();
}

void add_tokens(const Json& from, bool all, Json& tokens) {
  if (!from.is_object()) return;
  for (const auto& [name, value] : from.items()) {
    const auto text = all || name.ends_with("_token") ? token_text(value) : std::nullopt;
    if (text) tokens[name] = *text;
  }
}

/// "bos_token" and its like, and what the model names beside them.
Json special_tokens(const fs::path& model, const Json& config) {
  Json tokens = Json::object();
  add_tokens(config, false, tokens);
  if (!config.is_object() || !config.contains("added_tokens_decoder")) {
    add_tokens(json_of(model / "special_tokens_map.json"), false, tokens);
  }
  if (!config.is_object()) return tokens;
  for (const char* key : {"extra_special_tokens", "model_specific_special_tokens"}) {
    if (const auto named = config.find(key); named != config.end())
      add_tokens(*named, true, tokens);
  }
  return tokens;
}

/// Without absent values, and with the model's reasoning under each name templates know it by.
Json normalised(const Json& message) {
  if (!message.is_object()) fail("a message of a conversation must be an object");
  Json out = Json::object();
  const Json* reasoning = nullptr;
  for (const char* name : {"reasoning_content", "thinking", "reasoning"}) {
    const auto at = message.find(name);
    if (reasoning == nullptr && at != message.end() && !at->is_null()) reasoning = &*at;
  }
  if (reasoning != nullptr) out["thinking"] = *reasoning;
  for (const auto& [key, value] : message.items()) {
    if (!value.is_null()) out[key] = value;
  }
  if (reasoning != nullptr) out["reasoning_content"] = *reasoning;
  return out;
}

}  // namespace

struct ChatTemplate::Impl {
  std::string model;
  Templates templates;
  Json special_tokens;

  const jinja::Template& choose(bool with_tools) const {
    auto at = templates.end();
    if (with_tools) at = templates.find("tool_use");
    if (at == templates.end()) at = templates.find("default");
    if (at == templates.end()) {
      std::string names;
      for (const auto& [name, unused] : templates) names += (names.empty() ? "" : ", ") + name;
      fail("{}: the model has chat templates ({}), but none is the default", model, names);
    }
    return at->second;
  }
};

ChatTemplate ChatTemplate::load(const fs::path& model) {
  const Json config = json_of(model / "tokenizer_config.json");
  auto impl = std::make_shared<Impl>();
  impl->model = model.string();
  impl->templates = find_templates(model, config);
  impl->special_tokens = special_tokens(model, config);
  return ChatTemplate(std::move(impl));
}

std::optional<std::string> ChatTemplate::special_token(std::string_view name) const {
  const auto at = impl_->special_tokens.find(std::string(name));
  if (at == impl_->special_tokens.end()) return std::nullopt;
  return at->get<std::string>();
}

std::string ChatTemplate::render(const Json& messages, const ChatOptions& options) const {
  if (!messages.is_array() || messages.empty()) {
    fail("a conversation must be a list with at least one message");
  }
  Json variables = impl_->special_tokens;
  if (options.variables != nullptr) variables.update(*options.variables);
  Json& list = variables["messages"] = Json::array();
  for (const Json& message : messages) list.push_back(normalised(message));
  variables["tools"] = options.tools != nullptr ? *options.tools : Json();
  variables["documents"] = options.documents != nullptr ? *options.documents : Json();
  variables["add_generation_prompt"] = options.add_generation_prompt;
  return impl_->choose(options.tools != nullptr).render(variables);
}

}  // namespace moebius
