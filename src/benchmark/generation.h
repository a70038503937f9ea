// Measurement of prefill and decode.
#pragma once

#include <memory>

#include "benchmark/stopwatch.h"

namespace moebius {

/// One model that generates from random prompts, through all rounds.
class GenerationSubject {
 public:
  /// Opens the model, compares it with the scalar kernels and runs a round that does not count.
  /// Throws Error if the scores differ by more than the weights' type allows.
  GenerationSubject(const fs::path& path, const BenchOptions& options, const Context& ctx);
  ~GenerationSubject();

  /// A round: the prefill of every prompt, and all decoding steps.
  void measure(Stopwatch& watch);
  ModelReport report();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace moebius
