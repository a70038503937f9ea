#include "eval/evaluate.h"

namespace moebius {

void EvalOptions::declare(OptionSet& options) {
  options.positional("MODEL", model,
                     "directory in Hugging Face layout, GGUF file, or org/name on the hub");
  Option& files = options.add("data", data, "text files, or .jsonl with one document a line");
  files.many = files.required = true;
  options.add("key", key, "key of the text in .jsonl rows");
  options
      .add("context", context, "tokens of a window (default: the smaller of 1024 and the model's)")
      .at_least(0);
  options.add("reference", reference, "model to compare with: adds kl and top1_agreement");
  WeightOptions::declare(options);
}

}  // namespace moebius
