#include "train/loop_options.h"

#include "base/error.h"

namespace moebius {

void LoopOptions::declare(OptionSet& options) {
  options.add("out", out, "run directory").required = true;
  options.add("resume", resume, "go on from the run's last checkpoint");
  options.add("steps", steps, "optimiser steps");
  options.add("accumulate", accumulate, "micro-batches per step");
  options.add("save-every", save_every, "steps between checkpoints, 0 for one at the end");
  options.add("log-every", log_every, "steps between rows with a table of layers");
  options.add("keep", keep, "checkpoints that stay on disk");
  options.add("train", train, "what trains: all, router, experts, or a pattern as layers.0.*");
  options.add("group", groups,
              "\"PATTERN: lr=0.1 decay=0\": a factor on the learning rate, a weight decay; may be "
              "given several times");
  options.choice("precision", precision,
                 "f32; mixed: compute in bf16, with master weights and optimiser in f32; bf16: all "
                 "in bf16, in half the memory, where small updates are lost to rounding",
                 {"f32", "mixed", "bf16"});
  options.add("max-shard-size", max_shard_size, "largest weight file, as 5GB or 300MB");
  options.add("lr", schedule.lr, "highest learning rate");
  options.add("min-lr-ratio", schedule.min_lr_ratio, "share of lr that the cosine ends at");
  options.add("warmup", schedule.warmup, "steps of linear warm-up");
  options.add("weight-decay", adamw.weight_decay, "of matrices and embeddings");
  options.add("beta1", adamw.beta1, "AdamW's first decay");
  options.add("beta2", adamw.beta2, "AdamW's second decay");
  options.add("eps", adamw.eps, "AdamW's epsilon");
  options.add("clip", clip, "largest gradient norm, 0 for none");
}

void LoopOptions::check() const {
  const auto require = [](bool good, std::string_view text) {
    if (!good) throw UsageError(std::string(text));
  };
  require(accumulate >= 1, "--accumulate: must be at least 1");
  require(keep >= 1, "--keep: must be at least 1");
  require(log_every >= 1, "--log-every: must be at least 1");
  require(schedule.lr > 0, "--lr: must be positive");
  require(schedule.warmup >= 0, "--warmup: must not be negative");
}

}  // namespace moebius
