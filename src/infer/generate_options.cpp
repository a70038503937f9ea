#include "infer/generate.h"

namespace moebius {

void GenerateOptions::declare(OptionSet& options) {
  open.declare(options);
  options.add("prompt", prompt, "text to continue; \"\" starts from BOS");
  options.add("prompts", prompts, "file with one prompt a line");
  options.add("chat", chat, "the prompt is what a user says; without prompt, a conversation");
  options.add("system", system, "with --chat: system message of the conversation");
  options.add("max-tokens", request.max_tokens, "new tokens at most").at_least(1);
  SamplingOptions& sampling = request.sampling;
  options.add("temperature", sampling.temperature, "0 takes the most probable token").at_least(0);
  options.add("top-k", sampling.top_k, "sample from the k most probable tokens, 0 from all")
      .at_least(0);
  options.add("top-p", sampling.top_p, "sample from the fewest tokens of this probability")
      .above_up_to(0, 1);
  options
      .add("repetition-penalty", sampling.repetition_penalty,
           "divides scores of tokens that stood before, 1 for none")
      .above(0);
  options.add("stop", request.stop, "end before this text; may be given several times");
  options
      .add("logprobs", request.top_logprobs,
           "with --json: log-probabilities of new tokens and of this many alternatives")
      .at_least(0);
}

}  // namespace moebius
