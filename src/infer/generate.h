// `moebius generate`: continues prompts, or answers them as a chat model.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "infer/open_model.h"
#include "infer/text/token_log_probs.h"

namespace moebius {

struct GenerateOptions {
  OpenOptions open;
  GenerationRequest
      request;  ///< of every prompt; prompt ids, seed, stream and stop ids are set later
  std::string prompt;
  fs::path prompts;    ///< a file with one prompt per line
  bool chat = false;   ///< prompts are messages of a user, formatted by the model's chat template
  std::string system;  ///< with `chat`: the system message, if not empty

  void declare(OptionSet& options);
};

/// The text that was generated for one prompt.
struct Generation {
  std::string prompt, text;
  std::int64_t prompt_tokens = 0, new_tokens = 0;
  std::int64_t cached_tokens = 0;  ///< prompt tokens taken from a KV cache
  FinishReason finish_reason = FinishReason::none;
  std::optional<TokenLogProbs> log_probs;  ///< of the new tokens, if asked for
  double prefill_seconds = 0, decode_seconds = 0;
};

/// Receives printable pieces of the text of prompt number `prompt`: whole characters.
using OnText = std::function<void(std::size_t prompt, std::string_view piece)>;

/// Throws UsageError for parameters of a request, but its prompt, that are out of range.
void check_request(const GenerationRequest& request);

/// Opens the model and continues every prompt. Throws Error for a prompt that exceeds the context,
/// and for scores that are not finite.
std::vector<Generation> generate(const GenerateOptions& options, const Context& ctx,
                                 const OnText& on_text);

/// Continues prompts (ids, none of them empty) at the same time, each as `request` says, with
/// random stream `first_stream` + its number. `max_tokens` is reduced to what fits the context.
/// `on_text` receives the texts one after the other.
std::vector<Generation> continue_prompts(OpenModel& open,
                                         std::span<const std::vector<std::int32_t>> prompts,
                                         const GenerationRequest& request, const Context& ctx,
                                         std::uint64_t first_stream, const OnText& on_text);

}  // namespace moebius
