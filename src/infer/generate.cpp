#include "infer/generate.h"

#include <algorithm>
#include <map>
#include <utility>

#include "base/clock.h"
#include "base/lines.h"
#include "base/utf8.h"
#include "hub/resolve.h"
#include "infer/chat_format.h"
#include "infer/stop_filter.h"
#include "model/runtime.h"

namespace moebius {
namespace {

/// What becomes text of the tokens of one prompt.
class Continuation {
 public:
  Continuation(const OpenModel& open, std::span<const std::int32_t> prompt,
               const std::vector<std::string>& stops)
      : open_(open), decoder_(open.tokenizer, prompt), filter_(stops) {
    out_.prompt_tokens = std::ssize(prompt);
  }

  /// Text that can be printed now. `finished()` from the last token or a stop string on.
  std::string push(const NewToken& token) {
    const double now = seconds_since(start_);
    if (out_.new_tokens++ == 0) out_.prefill_seconds = now;
    out_.decode_seconds = now - out_.prefill_seconds;
    std::string text;
    if (token.finish == Finish::stop) {
      out_.finish_reason = "stop";
    } else {
      if (token.id < open_.tokenizer.vocab_size()) text = filter_.push(decoder_.push(token.id));
      if (filter_.stopped()) {
        out_.finish_reason = "stop";
      } else if (token.finish == Finish::length) {
        out_.finish_reason = "length";
      }
    }
    if (finished()) {
      text += filter_.push(decoder_.finish());
      text += filter_.finish();
    }
    out_.text += text;
    return text;
  }
  bool finished() const { return !out_.finish_reason.empty(); }
  Generation& result() { return out_; }

 private:
  const OpenModel& open_;
  StreamDecoder decoder_;
  StopFilter filter_;
  Clock::time_point start_ = Clock::now();
  Generation out_;
};

/// Hands texts that come side by side on one after the other.
class InOrder {
 public:
  InOrder(std::size_t count, const OnText& on_text) : held_(count), over_(count), show_(on_text) {}

  void add(std::size_t prompt, std::string_view text, bool last) {
    held_[prompt] += text;
    over_[prompt] = last;
    while (current_ < held_.size()) {
      if (!held_[current_].empty()) show_(current_, std::exchange(held_[current_], {}));
      if (!over_[current_]) return;
      ++current_;
    }
  }

 private:
  std::vector<std::string> held_;
  std::vector<bool> over_;
  const OnText& show_;
  std::size_t current_ = 0;
};

/// Ends what is still running when work is given up.
class Requests {
 public:
  explicit Requests(Engine& engine) : engine_(engine) {}
  ~Requests() {
    for (const auto& [request, prompt] : prompts_) engine_.cancel(request);
  }
  Requests(const Requests&) = delete;
  Requests& operator=(const Requests&) = delete;

  void add(Request request, std::size_t prompt) {
    prompts_[engine_.add(std::move(request))] = prompt;
  }
  std::size_t prompt_of(std::int64_t request) const { return prompts_.at(request); }
  bool has(std::int64_t request) const { return prompts_.contains(request); }
  void end(std::int64_t request) {
    engine_.cancel(request);
    prompts_.erase(request);
  }
  bool empty() const { return prompts_.empty(); }

 private:
  Engine& engine_;
  std::map<std::int64_t, std::size_t> prompts_;
};

std::vector<std::string> read_prompts(const fs::path& file) {
  const std::string content = read_file(file);
  check_utf8(content, file.string());
  std::vector<std::string> prompts;
  LineReader lines(content);
  while (const auto line = lines.next()) prompts.emplace_back(*line);
  if (prompts.empty()) fail("{}: no prompt in it", file.string());
  return prompts;
}

}  // namespace

void check_vocabulary(const ModelSpec& spec, const Tokenizer& tokenizer, const fs::path& model) {
  if (tokenizer.base_vocab_size() > spec.vocab) {
    fail("{}: the tokenizer has {} ids, the model's vocabulary {}", model.string(),
         tokenizer.base_vocab_size(), spec.vocab);
  }
}

void check_ids(const ModelSpec& spec, std::span<const std::int32_t> ids) {
  for (const std::int32_t id : ids) {
    if (id >= spec.vocab) fail("token {} is outside the model's vocabulary of {}", id, spec.vocab);
  }
}

std::vector<std::int32_t> prompt_ids(const ModelSpec& spec, const Tokenizer& tokenizer,
                                     std::string_view prompt) {
  std::vector<std::int32_t> ids = tokenizer.encode(prompt);
  if (ids.empty()) {
    if (!spec.bos) {
      throw Error("an empty prompt needs a BOS token, and this model has none", "give a --prompt");
    }
    ids.push_back(static_cast<std::int32_t>(*spec.bos));
  }
  check_ids(spec, ids);
  return ids;
}

std::vector<Generation> continue_prompts(OpenModel& open,
                                         std::span<const std::vector<std::int32_t>> prompts,
                                         const GenerateOptions& options, const Context& ctx,
                                         std::uint64_t first_stream, const OnText& on_text) {
  const std::int64_t context = open.spec().context;
  std::vector<Continuation> texts;
  Requests requests(open.engine);
  for (std::size_t p = 0; p < prompts.size(); ++p) {
    const auto tokens = std::ssize(prompts[p]);
    if (tokens >= context) {
      throw Error(
          fmt::format("the prompt has {} tokens, the model's context is {}", tokens, context),
          "shorten the prompt");
    }
    requests.add({.prompt = prompts[p],
                  .max_tokens = std::min(options.max_tokens, context - tokens),
                  .sampling = options.sampling,
                  .seed = ctx.seed,
                  .stream = first_stream + p,
                  .stop_ids = open.stop_ids},
                 p);
    texts.emplace_back(open, prompts[p], options.stop);
  }
  InOrder ordered(prompts.size(), on_text);
  while (!requests.empty()) {
    ctx.check_interrupt();
    for (const NewToken& token : open.engine.step()) {
      if (!requests.has(token.request)) continue;
      if (token.error) std::rethrow_exception(token.error);
      const std::size_t p = requests.prompt_of(token.request);
      Continuation& text = texts[p];
      if (text.result().new_tokens == 0) {
        text.result().cached_tokens = open.engine.cached_tokens(token.request);
      }
      const std::string piece = text.push(token);
      if (text.finished()) requests.end(token.request);
      ordered.add(p, piece, text.finished());
    }
  }
  std::vector<Generation> results;
  for (Continuation& text : texts) results.push_back(std::move(text.result()));
  return results;
}

OpenModel make_open_model(fs::path directory, std::unique_ptr<InferenceModel> model,
                          Tokenizer tokenizer) {
  check_vocabulary(model->spec(), tokenizer, directory);
  std::vector<std::int32_t> stop_ids;
  for (const std::int64_t id : model->spec().eos) stop_ids.push_back(static_cast<std::int32_t>(id));
  return {std::move(directory), Engine(std::move(model)), std::move(tokenizer),
          std::move(stop_ids)};
}

OpenModel open_model(const GenerateOptions& options, const Context& ctx) {
  check_ranges_of(options);
  fs::path directory = resolve_model(options.model, ModelParts::all, ctx);
  Tokenizer tokenizer = Tokenizer::load(directory);
  auto model = open_for_inference(directory, options, ctx);
  return make_open_model(std::move(directory), std::move(model), std::move(tokenizer));
}

std::vector<Generation> generate(const GenerateOptions& options, const Context& ctx,
                                 const OnText& on_text) {
  const ComputeScope scope(ctx);
  OpenModel open = open_model(options, ctx);
  std::optional<ChatFormat> chat;
  if (options.chat) chat = ChatFormat::load(open.directory);
  if (chat) chat->add_end_of_turn(open);
  const std::vector<std::string> prompts =
      options.prompts.empty() ? std::vector{options.prompt} : read_prompts(options.prompts);
  std::vector<std::vector<std::int32_t>> ids;
  for (const std::string& prompt : prompts) {
    ids.push_back(chat ? chat->ids(open, options.system, prompt)
                       : prompt_ids(open.spec(), open.tokenizer, prompt));
  }
  std::vector<Generation> results = continue_prompts(open, ids, options, ctx, 0, on_text);
  for (std::size_t p = 0; p < prompts.size(); ++p) results[p].prompt = prompts[p];
  return results;
}

}  // namespace moebius
