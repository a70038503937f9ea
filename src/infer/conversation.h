// A conversation with a chat model: what was said stays, and so do its keys and values.
#pragma once

#include <memory>

#include "infer/run.h"

namespace moebius {

class Conversation {
 public:
  /// Opens the model; begins with the system message of `options`. Both must outlive this.
  Conversation(const GenerateOptions& options, const Context& ctx);
  ~Conversation();
  Conversation(const Conversation&) = delete;
  Conversation& operator=(const Conversation&) = delete;

  /// The model's answer to `text`, which `on_text` sees as it comes. When Interrupted is thrown the
  /// answer so far counts as said; when Error is thrown, nothing was said.
  Generation say(const std::string& text, const std::function<void(std::string_view)>& on_text);
  /// Forgets all that was said but the system message.
  void reset();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace moebius
