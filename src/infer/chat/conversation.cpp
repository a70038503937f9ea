#include "infer/chat/conversation.h"

#include <nlohmann/json.hpp>

#include "base/utf8.h"
#include "infer/chat/chat_format.h"
#include "model/runtime.h"

namespace moebius {

struct Conversation::Impl {
  Impl(const GenerateOptions& from, const Context& with)
      : options(checked(from)),
        ctx(with),
        open(open_model(from.open, with)),
        format(ChatFormat::load(open.directory)) {
    format.add_end_of_turn(open);
  }

  static const GenerateOptions& checked(const GenerateOptions& options) {
    check_request(options.request);
    return options;
  }
  std::vector<std::int32_t> ids_of_messages() const {
    std::vector<std::int32_t> ids = format.ids(open, messages);
    const std::int64_t context = open.spec().context;
    if (static_cast<std::int64_t>(ids.size()) >= context) {
      throw Error(fmt::format("the conversation has {} tokens, the model's context is {}",
                              ids.size(), context),
                  "/reset begins a new one");
    }
    return ids;
  }

  const GenerateOptions& options;
  const Context& ctx;
  OpenModel open;
  ChatFormat format;
  Json messages = Json::array();
  std::uint64_t turns = 0;
};

Conversation::Conversation(const GenerateOptions& options, const Context& ctx) {
  const ComputeScope scope(ctx);
  impl_ = std::make_unique<Impl>(options, ctx);
  reset();
}

Conversation::~Conversation() = default;

void Conversation::reset() {
  const std::string& system = impl_->options.system;
  impl_->messages = Json::array();
  if (!system.empty()) impl_->messages.push_back(chat_message("system", system));
}

Generation Conversation::say(const std::string& text,
                             const std::function<void(std::string_view)>& on_text) {
  Impl& self = *impl_;
  const ComputeScope scope(self.ctx);
  check_utf8(text, "the message");
  std::string answer;
  const std::size_t before = self.messages.size();
  self.messages.push_back(chat_message("user", text));
  try {
    const auto ids = self.ids_of_messages();
    const auto note = [&](std::size_t, std::string_view piece) {
      answer += piece;
      on_text(piece);
    };
    Generation out = std::move(continue_prompts(self.open, {&ids, 1}, self.options.request,
                                                self.ctx, self.turns++, note)[0]);
    self.messages.push_back(chat_message("assistant", out.text));
    out.prompt = text;
    return out;
  } catch (const Interrupted&) {
    self.messages.push_back(chat_message("assistant", answer));
    throw;
  } catch (const Error&) {
    while (self.messages.size() > before) self.messages.erase(self.messages.size() - 1);
    throw;
  }
}

}  // namespace moebius
