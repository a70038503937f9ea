// Text generation: what the command line and a server call.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/context.h"
#include "infer/weight_options.h"

namespace moebius {

/// How a next token is chosen.
struct SamplingOptions {
  double temperature = 0.0;  ///< 0: the most probable one
  std::int64_t top_k = 0;    ///< 0: all
  double top_p = 1.0;
  double repetition_penalty = 1.0;  ///< on tokens that stand in prompt or text (Keskar, 2019)
};

struct GenerateOptions : WeightOptions {
  fs::path model;
  std::string prompt;
  fs::path prompts;   ///< a file, one prompt a line
  bool chat = false;  ///< a prompt is what a user says, written as the model's chat template has it
  std::string system;  ///< with `chat`: the system message before it, if not empty
  std::int64_t max_tokens = 128;
  SamplingOptions sampling;
  std::vector<std::string> stop;

  void declare(OptionSet& options);
};

struct Generation {
  std::string prompt, text;
  std::int64_t prompt_tokens = 0, new_tokens = 0;
  std::int64_t cached_tokens = 0;  ///< of the prompt, whose keys and values were at hand
  std::string finish_reason;       ///< "stop" (end of text, or a stop string) or "length"
  double prefill_seconds = 0, decode_seconds = 0;
};

/// Called with pieces of prompt number `prompt` that are ready to print: whole characters only.
using OnText = std::function<void(std::size_t prompt, std::string_view piece)>;

/// Continues every prompt. Throws Error for a prompt beyond the context or non-finite logits.
std::vector<Generation> generate(const GenerateOptions& options, const Context& ctx,
                                 const OnText& on_text);

}  // namespace moebius
