#include "infer/run.h"

namespace moebius {

void GenerateOptions::declare(OptionSet& options) {
  options.positional("MODEL", model,
                     "directory in Hugging Face layout, GGUF file, or org/name on the hub");
  options.add("prompt", prompt, "text to continue; \"\" starts from BOS");
  options.add("prompts", prompts, "file with one prompt a line");
  options.add("chat", chat, "the prompt is what a user says; without prompt, a conversation");
  options.add("system", system, "with --chat: system message of the conversation");
  options.add("max-tokens", max_tokens, "new tokens at most").at_least(1);
  options.add("temperature", sampling.temperature, "0 takes the most probable token").at_least(0);
  options.add("top-k", sampling.top_k, "sample from the k most probable tokens, 0 from all")
      .at_least(0);
  options.add("top-p", sampling.top_p, "sample from the fewest tokens of this probability")
      .above_up_to(0, 1);
  options
      .add("repetition-penalty", sampling.repetition_penalty,
           "divides scores of tokens that stood before, 1 for none")
      .above(0);
  options.add("stop", stop, "end before this text; may be given several times");
  WeightOptions::declare(options);
}

}  // namespace moebius
