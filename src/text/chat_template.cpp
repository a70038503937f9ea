#include "text/chat_template.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "checkpoint/companions.h"
#include "text/companion_tokens.h"
#include "text/jinja/template.h"
#include "text/tokenizer_document.h"

namespace moebius {
namespace {

constexpr std::size_t kMaxFile = std::size_t{64} << 20;
constexpr const char* kConfig = "tokenizer_config.json";

/// A JSON file of the model; null if it does not exist.
Json json_of(const fs::path& file) {
  if (!fs::exists(file)) return nullptr;
  return parse_json(read_file(file, kMaxFile), file.string());
}

TemplateSources from_jinja_files(const fs::path& model) {
  TemplateSources found;
  const auto add = [&](const std::string& name, const fs::path& file) {
    found.emplace(name, TemplateSource{read_file(file, kMaxFile), file.string()});
  };
  if (const fs::path file = model / "chat_template.jinja"; fs::exists(file)) add("default", file);
  const fs::path more = model / chat_template_folder;
  if (fs::is_directory(more)) {
    for (const auto& entry : fs::directory_iterator(more)) {
      const fs::path& file = entry.path();
      if (file.extension() == ".jinja") add(file.stem().string(), file);
    }
  }
  return found;
}

/// The key "chat_template" of a JSON file: a template, or a list of templates with names.
TemplateSources from_json(const Json& json, const fs::path& file) {
  TemplateSources found;
  if (!json.is_object()) return found;
  const JsonView view(json, file.string());
  if (!view.has("chat_template")) return found;
  const std::string where = fmt::format("{}: chat_template", file.string());
  if (!json.at("chat_template").is_array()) {
    found["default"] = {view.string("chat_template"), where};
    return found;
  }
  for (const JsonView& each : view.objects("chat_template")) {
    const std::string name = each.string("name");
    found[name] = {each.string("template"), fmt::format("{} \"{}\"", where, name)};
  }
  return found;
}

TemplateSources templates_of(const fs::path& model, const Json& config) {
  TemplateSources found = from_jinja_files(model);
  if (found.empty()) found = from_json(config, model / kConfig);
  const fs::path file = model / "chat_template.json";
  if (found.empty()) found = from_json(json_of(file), file);
  return found;
}

/// The tokenizer's special tokens with names, class defaults included.
Json special_tokens(const fs::path& model) {
  TokenizerClass kind = find_tokenizer_class(model).kind;
  const auto files = find_tokenizer(model);
  const bool pieces = files && files->layout == TokenizerFiles::Layout::sentencepiece;
  if (kind == TokenizerClass::other && pieces) kind = TokenizerClass::llama;
  return CompanionTokens(model, kind).names();
}

/// A copy without null values, with the model's reasoning under each of the names that templates
/// use for it.
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

TemplateSources find_chat_templates(const fs::path& model) {
  return templates_of(model, json_of(model / kConfig));
}

struct ChatTemplate::Impl {
  std::string model;
  std::map<std::string, jinja::Template> templates;
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
  const Json config = json_of(model / kConfig);
  auto impl = std::make_shared<Impl>();
  impl->model = model.string();
  for (const auto& [name, source] : templates_of(model, config)) {
    impl->templates.emplace(name, jinja::Template::parse(source.text, source.where));
  }
  if (impl->templates.empty()) {
    throw Error(fmt::format("{}: the model has no chat template: no chat_template.jinja, no "
                            "\"chat_template\" in tokenizer_config.json or chat_template.json",
                            model.string()),
                "use an instruction-tuned model, or put its template into chat_template.jinja");
  }
  impl->special_tokens = special_tokens(model);
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
