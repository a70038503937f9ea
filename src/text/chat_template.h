// How a model wants conversations written: its own chat template, found and rendered as
// transformers' `apply_chat_template` does.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/files.h"
#include "base/json.h"

namespace moebius {

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
  /// Looks into `model` for chat_template.jinja and additional_chat_templates/*.jinja, then for
  /// "chat_template" in tokenizer_config.json, then in chat_template.json. Throws Error saying so
  /// if there is none, or naming file and line of what is malformed or not supported.
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
