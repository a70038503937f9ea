// From conversations to the ids that a model answers to.
#pragma once

#include "infer/generate.h"
#include "text/chat_template.h"

namespace moebius {

class ChatFormat {
 public:
  /// Throws Error if the model has no chat template.
  static ChatFormat load(const fs::path& model);

  /// Ids of a conversation up to where the model is to answer. The template itself writes what
  /// the tokenizer would add, BOS for one.
  std::vector<std::int32_t> ids(const OpenModel& open, const Json& messages) const;
  /// The same for one message of a user, behind a system message unless that is empty.
  std::vector<std::int32_t> ids(const OpenModel& open, const std::string& system,
                                const std::string& user) const;

  /// The tokenizer's EOS ends an answer too: many chat models name the end of a turn there alone.
  void add_end_of_turn(OpenModel& open) const;

 private:
  explicit ChatFormat(ChatTemplate chat_template) : template_(std::move(chat_template)) {}
  ChatTemplate template_;
};

/// A message as chat templates know them.
Json chat_message(const char* role, const std::string& content);

}  // namespace moebius
