// A conversation with a chat model, whose KV cache is kept from turn to turn.
#pragma once

#include <memory>

#include "infer/generate.h"

namespace moebius {

class Conversation {
 public:
  /// Opens the model; begins with the system message of `options`. Both must outlive this.
  Conversation(const GenerateOptions& options, const Context& ctx);
  ~Conversation();
  Conversation(const Conversation&) = delete;
  Conversation& operator=(const Conversation&) = delete;

  /// Generates the answer to `text`; `on_text` receives its pieces. If Interrupted is thrown,
  /// message and partial answer stay part of the conversation; if Error is thrown, neither does.
  Generation say(const std::string& text, const std::function<void(std::string_view)>& on_text);
  /// Drops all messages but the system message.
  void reset();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace moebius
