#include "train/train_options.h"

#include "base/error.h"

namespace moebius {

void TrainOptions::declare(OptionSet& options) {
  options.group("Model and data");
  options.add(
      "init", init,
      "model to train on: directory in Hugging Face layout, GGUF file, or org/name on the hub");
  options.add("model-config", model_config, "config.json of a model to train from scratch");
  options.add("tokenizer", tokenizer, "directory with tokenizer.json (default: that of --init)");
  Option& files = options.add("data", data, "text, .jsonl or .tok files");
  files.many = files.required = true;
  options.add("key", key, "key of the text in .jsonl rows");
  options.add("epochs", epochs, "passes over the data, instead of --steps").at_least(0);
  options.add("batch", batch, "sequences of a batch").at_least(1);
  options
      .add("sequence", sequence,
           "tokens of a sequence (default: the smaller of 256 and the model's context)")
      .at_least(0);
  options.add("shuffle", shuffle, "visit the data in random order").negatable = true;
  options.add("balance", balance, "coefficient of the balance loss (default: the configuration's)");
  options.add("balance-form", balance_form, "mean over layers, or pooled as transformers has it");
  loop.declare(options);
}

void TrainOptions::check() const {
  check_ranges_of(*this);
  if ((loop.steps > 0) == (epochs > 0)) throw UsageError("give either --steps or --epochs");
}

}  // namespace moebius
