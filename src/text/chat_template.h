// Chat templates of models: found in a model's files and rendered as transformers'
// `apply_chat_template` does.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/files.h"
#include "base/json.h"

namespace moebius {

struct TemplateSource {
  std::string text;   ///< Jinja
  std::string where;  ///< file and key, for errors
};
using TemplateSources = std::map<std::string, TemplateSource>;  ///< by name

/// The chat templates of a model by name, "default" and others; empty if it has none. They are read
/// from chat_template.jinja and additional_chat_templates/*.jinja, or else from
/// tokenizer_config.json, or else from chat_template.json.
TemplateSources find_chat_templates(const fs::path& model);

/// Inputs of a template beside the messages. Null means absent.
struct ChatOptions {
  bool add_generation_prompt = false;  ///< end with the header of an answer
  const Json* tools = nullptr;         ///< list of JSON schemas of functions
  const Json* documents = nullptr;     ///< list of objects with "title" and "text"
  const Json* variables = nullptr;     ///< object of further variables, "enable_thinking" for one
};

/// Cheap to copy; any number of threads may use one at once.
class ChatTemplate {
 public:
  /// Parses the templates that `find_chat_templates` finds. Throws Error if there is none, or
  /// naming the file and line of what is malformed or not supported.
  static ChatTemplate load(const fs::path& model);

  /// `messages` is a list of objects such as {"role": "user", "content": "Hi"}. Throws Error where
  /// the template fails, or with the message that it raises.
  std::string render(const Json& messages, const ChatOptions& options = {}) const;

  /// The special token that the model's files call `name`, such as "eos_token".
  std::optional<std::string> special_token(std::string_view name) const;

 private:
  struct Impl;
  explicit ChatTemplate(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<const Impl> impl_;
};

}  // namespace moebius
