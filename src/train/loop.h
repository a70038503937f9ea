// The training loop. It knows steps, gradients, schedules, metrics and checkpoints; what is
// minimised is the objective's.
#pragma once

#include "train/checkpoint.h"
#include "train/loop_options.h"
#include "train/objective.h"
#include "train/train.h"

namespace moebius {

/// Runs `options.steps` steps of `objective` on `model`, in RUN = options.out: metrics.jsonl,
/// checkpoint-N, latest. `origin` is what saved models take over.
/// After SIGINT or SIGTERM finishes the step, saves, says how to resume and throws Interrupted.
TrainReport run_loop(Model& model, Objective& objective, const LoopOptions& options,
                     const Origin& origin, const Context& ctx);

}  // namespace moebius
