#include "infer/generate.h"

#include <algorithm>
#include <map>
#include <utility>

#include "base/clock.h"
#include "base/lines.h"
#include "base/utf8.h"
#include "data/model_vocabulary.h"
#include "infer/chat/chat_format.h"
#include "infer/text/text_stream.h"
#include "model/runtime.h"

namespace moebius {
namespace {

/// The result of one prompt while its tokens arrive.
class PromptProgress {
 public:
  PromptProgress(const Tokenizer& tokenizer, const GenerationRequest& request)
      : stream_(tokenizer, request.prompt, request.stop) {
    out_.prompt_tokens = std::ssize(request.prompt);
    if (request.top_logprobs > 0) log_probs_.emplace(tokenizer, request.prompt.back());
  }

  /// Text that can be printed now.
  std::string push(const NewToken& token) {
    const double now = seconds_since(start_);
    if (stream_.new_tokens() == 0) out_.prefill_seconds = now;
    out_.decode_seconds = now - out_.prefill_seconds;
    out_.cached_tokens = token.cached_tokens;
    if (log_probs_) log_probs_->push(token);
    std::string text = stream_.push(token);
    out_.text += text;
    return text;
  }
  bool finished() const { return stream_.finished(); }
  Generation result() {
    out_.new_tokens = stream_.new_tokens();
    out_.finish_reason = stream_.finish_reason();
    if (log_probs_) out_.log_probs = log_probs_->take();
    return std::move(out_);
  }

 private:
  TextStream stream_;
  std::optional<TokenLogProbRecorder> log_probs_;
  Clock::time_point start_ = Clock::now();
  Generation out_;
};

/// Passes on texts that arrive interleaved, one after the other.
class InOrder {
 public:
  InOrder(std::size_t count, const OnText& on_text)
      : held_(count), over_(count), on_text_(on_text) {}

  void add(std::size_t prompt, std::string_view text, bool last) {
    held_[prompt] += text;
    over_[prompt] = last;
    while (current_ < held_.size()) {
      if (!held_[current_].empty()) on_text_(current_, std::exchange(held_[current_], {}));
      if (!over_[current_]) return;
      ++current_;
    }
  }

 private:
  std::vector<std::string> held_;
  std::vector<bool> over_;
  const OnText& on_text_;
  std::size_t current_ = 0;
};

/// Requests by prompt; those that are left are cancelled in the destructor.
class Requests {
 public:
  explicit Requests(Engine& engine) : engine_(engine) {}
  ~Requests() {
    for (const auto& [request, prompt] : prompts_) engine_.cancel(request);
  }
  Requests(const Requests&) = delete;
  Requests& operator=(const Requests&) = delete;

  void add(GenerationRequest request, std::size_t prompt) {
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

void check_request(const GenerationRequest& request) {
  if (request.max_tokens < 1) {
    throw UsageError(fmt::format("--max-tokens {}: must be at least 1", request.max_tokens));
  }
  if (request.top_logprobs < 0) {
    throw UsageError(fmt::format("--logprobs {}: must not be negative", request.top_logprobs));
  }
}

std::vector<Generation> continue_prompts(OpenModel& open,
                                         std::span<const std::vector<std::int32_t>> prompts,
                                         const GenerationRequest& request, const Context& ctx,
                                         std::uint64_t first_stream, const OnText& on_text) {
  const std::int64_t context = open.spec().context;
  std::vector<PromptProgress> texts;
  Requests requests(open.engine);
  for (std::size_t p = 0; p < prompts.size(); ++p) {
    const auto tokens = std::ssize(prompts[p]);
    if (tokens >= context) {
      throw Error(
          fmt::format("the prompt has {} tokens, the model's context is {}", tokens, context),
          "shorten the prompt");
    }
    GenerationRequest each = request;
    each.prompt = prompts[p];
    each.max_tokens = std::min(request.max_tokens, context - tokens);
    each.seed = ctx.seed;
    each.stream = first_stream + p;
    each.stop_ids = open.stop_ids;
    texts.emplace_back(open.tokenizer, each);
    requests.add(std::move(each), p);
  }
  InOrder ordered(prompts.size(), on_text);
  while (!requests.empty()) {
    ctx.check_interrupt();
    for (const NewToken& token : open.engine.step()) {
      if (!requests.has(token.request)) continue;
      if (token.error) std::rethrow_exception(token.error);
      const std::size_t p = requests.prompt_of(token.request);
      const std::string piece = texts[p].push(token);
      if (texts[p].finished()) requests.end(token.request);
      ordered.add(p, piece, texts[p].finished());
    }
  }
  std::vector<Generation> results;
  for (PromptProgress& text : texts) results.push_back(text.result());
  return results;
}

std::vector<Generation> generate(const GenerateOptions& options, const Context& ctx,
                                 const OnText& on_text) {
  check_ranges_of(options);
  check_request(options.request);
  const ComputeScope scope(ctx);
  OpenModel open = open_model(options.open, ctx);
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
  std::vector<Generation> results = continue_prompts(open, ids, options.request, ctx, 0, on_text);
  for (std::size_t p = 0; p < prompts.size(); ++p) results[p].prompt = prompts[p];
  return results;
}

}  // namespace moebius
