#include "train/loop_options.h"

namespace moebius {

void LoopOptions::declare(OptionSet& options) {
  options.group("Run");
  options.add("out", out, "run directory").required = true;
  options.add("resume", resume, "go on from the run's last checkpoint");
  options.add("steps", steps, "optimiser steps").at_least(0);
  options.add("accumulate", accumulate, "micro-batches per step").at_least(1);
  options.add("save-every", save_every, "steps between checkpoints, 0 for one at the end")
      .at_least(0);
  options.add("log-every", log_every, "steps between rows with a table of layers").at_least(1);
  options.add("keep", keep, "checkpoints that stay on disk").at_least(1);
  options.add("train", train, "what trains: all, router, experts, or a pattern as layers.0.*");
  options.add("group", groups,
              "\"PATTERN: lr=0.1 decay=0\": a factor on the learning rate, a weight decay; may be "
              "given several times");
  options.add("precision", precision,
              "f32; mixed: compute in bf16, with master weights and optimiser in f32; bf16: all "
              "in bf16, in half the memory, where small updates are lost to rounding");
  options.add("max-shard-size", max_shard_size, "largest weight file, as 5GB or 300MB");
  options.choice("expert-layout", expert_layout,
                 "experts in one tensor or one tensor each (default: the family's usual one)",
                 {"fused", "separate"});
  options.group("Optimiser and schedule");
  options.add("lr", schedule.lr, "highest learning rate").above(0);
  options.add("min-lr-ratio", schedule.min_lr_ratio, "share of lr that the cosine ends at")
      .between(0, 1);
  options.add("warmup", schedule.warmup, "steps of linear warm-up").at_least(0);
  options.add("weight-decay", adamw.weight_decay, "of matrices and embeddings").at_least(0);
  options.add("beta1", adamw.beta1, "AdamW's first decay").between(0, 1);
  options.add("beta2", adamw.beta2, "AdamW's second decay").between(0, 1);
  options.add("eps", adamw.eps, "AdamW's epsilon").at_least(0);
  options.add("clip", clip, "largest gradient norm, 0 for none").at_least(0);
}

}  // namespace moebius
