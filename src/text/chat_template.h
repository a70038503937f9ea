// How a model wants conversations written: its own chat template, found and rendered as
// transformers' `apply_chat_template` does.
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
  std::string where;  ///< names file and place in errors
};
using TemplateSources = std::map<std::string, TemplateSource>;  ///< by name

/// The chat templates of a model's files, "default" and others; none if it has none. They stand in
/// chat_template.jinja and additional_chat_templates/*.jinja, or else in tokenizer_config.json, or
/// else in chat_template.json.
TemplateSources find_chat_templates(const fs::path& model);

/// What a template may use beside the messages. Null means absent.
struct ChatOptions {
  bool add_generation_prompt = false;  ///< end with what makes the model answer
  const Json* tools = nullptr;         ///< list of JSON schemas of functions
  const Json* documents = nullptr;     ///< list of objects with "title" and "text"
  const Json* variables = nullptr;     ///< object of further variables, "enable_thinking" for one
};

/// Cheap to copy; any number of threads may use one at once.
class ChatTemplate {
 public:
  /// Of those that `find_chat_templates` finds. Throws Error saying so if there is none, or naming
  /// file and line of what is malformed or not supported.
  static ChatTemplate load(const fs::path& model);

  /// `messages` is a list of objects such as {"role": "user", "content": "Hi"}. Throws Error where
  /// the template fails, or with what it raises against the conversation.
  std::string render(const Json& messages, const ChatOptions& options = {}) const;

  /// The special token that the model's files call `name`, such as "eos_token".
  std::optional<std::string> special_token(std::string_view name) const;

 private:
  struct Impl;
  explicit ChatTemplate(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<const Impl> impl_;
};

}  // namespace moebius
