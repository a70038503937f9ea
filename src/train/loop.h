// The training loop. It knows steps, gradients, schedules, metrics and checkpoints; what is
// minimised is the objective's.
#pragma once

#include "train/checkpoint.h"
#include "train/objective.h"

namespace moebius {

/// Slots that `--train` selects: all, router, experts, or a pattern in which '*' matches anything.
/// Throws Error if nothing matches.
std::vector<Parameter> select_parameters(Weights& weights, const std::string& train);

/// A model as it is trained: what gradients are computed with, and what the optimiser updates. With
/// precision "mixed" the first is a copy in bf16 of the model, else it is the model itself.
struct Trainee {
  Model computed;
  std::vector<Parameter> parameters;

  /// `train` as in `select_parameters`.
  Trainee(Model& model, const std::string& train, const std::string& precision);
  /// Brings the copy up to the model.
  void refresh(const Model& model);
};

/// Runs `options.steps` steps of `objective` on `model`, in RUN = options.out: metrics.jsonl,
/// checkpoint-N, latest. `origin` is what saved models take over.
/// After SIGINT or SIGTERM finishes the step, saves, says how to resume and throws Interrupted.
TrainReport run_loop(Model& model, Objective& objective, const LoopOptions& options,
                     const Origin& origin, const Context& ctx);

}  // namespace moebius
