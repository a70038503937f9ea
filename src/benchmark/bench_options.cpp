#include "benchmark/benchmark.h"

namespace moebius {

void BenchOptions::declare(OptionSet& set) {
  set.positional("MODEL", model,
                 "directory in Hugging Face layout, GGUF file, or org/name on the "
                 "hub; with --random-weights a directory with config.json");
  set.add("random-weights", random_weights, "weights that are made up: only shapes count");
  WeightOptions::declare(set);
  set.group("Measurement");
  set.add("prompt", prompt, "tokens of each prompt").at_least(1);
  set.add("new", tokens, "tokens to generate after each").at_least(1);
  set.add("batch", batch, "sequences side by side").at_least(1);
  set.add("repeat", repeat, "rounds, each with the limits of the machine; medians count")
      .at_least(1);
  set.add("against", against, "a second model, measured in turns with the first");
  set.group("Training");
  set.add("train", train,
          "measure training steps instead, of --batch sequences of --prompt tokens each");
  set.add("precision", precision, "of training, as in train");
}

void BenchOptions::check() const {
  if (train && !weights.empty()) {
    throw UsageError("--weights: is for generation", "training computes as --precision says");
  }
}

}  // namespace moebius
