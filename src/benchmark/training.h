// Measurement of training steps.
#pragma once

#include <memory>

#include "benchmark/stopwatch.h"

namespace moebius {

/// One model that is trained on random tokens, through all rounds.
class TrainingSubject {
 public:
  /// Opens the model and runs a step that does not count.
  TrainingSubject(const fs::path& path, const BenchOptions& options, const Context& ctx);
  ~TrainingSubject();

  /// A step.
  void measure(Stopwatch& watch);
  TrainingReport report();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace moebius
