#include "infer/chat/chat_format.h"

#include <nlohmann/json.hpp>

#include "data/model_vocabulary.h"

namespace moebius {

Json chat_message(const char* role, const std::string& content) {
  return {{"role", role}, {"content", content}};
}

ChatFormat ChatFormat::load(const fs::path& model) {
  return ChatFormat(ChatTemplate::load(model));
}

std::vector<std::int32_t> ChatFormat::ids(const OpenModel& open, const Json& messages) const {
  const std::string text = template_.render(messages, {.add_generation_prompt = true});
  std::vector<std::int32_t> ids = open.tokenizer.encode(text, /*add_special=*/false);
  if (ids.empty()) fail("the model's chat template makes no text of the conversation");
  check_ids(open.spec(), ids);
  return ids;
}

std::vector<std::int32_t> ChatFormat::ids(const OpenModel& open, const std::string& system,
                                          const std::string& user) const {
  Json messages = Json::array();
  if (!system.empty()) messages.push_back(chat_message("system", system));
  messages.push_back(chat_message("user", user));
  return ids(open, messages);
}

void ChatFormat::add_end_of_turn(OpenModel& open) const {
  const auto token = template_.special_token("eos_token");
  const auto id = token ? open.tokenizer.id_of(*token) : std::nullopt;
  if (id) open.stop_ids.push_back(*id);
}

}  // namespace moebius
