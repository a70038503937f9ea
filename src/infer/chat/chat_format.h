// Formats conversations with the model's chat template, as token ids.
#pragma once

#include "infer/open_model.h"
#include "text/chat_template.h"

namespace moebius {

class ChatFormat {
 public:
  /// Throws Error if the model has no chat template.
  static ChatFormat load(const fs::path& model);

  /// Ids of a conversation up to the model's answer. The template writes BOS and its like itself,
  /// so the tokenizer adds none.
  std::vector<std::int32_t> ids(const OpenModel& open, const Json& messages) const;
  /// The same for one message of a user, after a system message unless that is empty.
  std::vector<std::int32_t> ids(const OpenModel& open, const std::string& system,
                                const std::string& user) const;

  /// Adds the tokenizer's EOS to the stop ids: many chat models name their end of turn only there.
  void add_end_of_turn(OpenModel& open) const;

 private:
  explicit ChatFormat(ChatTemplate chat_template) : template_(std::move(chat_template)) {}
  ChatTemplate template_;
};

/// {"role": role, "content": content}
Json chat_message(const char* role, const std::string& content);

}  // namespace moebius
