// Speed of a model's generation or training, beside the limits of the machine.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/context.h"
#include "infer/weight_options.h"
#include "kernels/limits.h"
#include "train/loop_options.h"

namespace moebius {

struct BenchOptions : WeightOptions {
  fs::path model, against;
  bool random_weights = false;
  std::int64_t prompt = 512, tokens = 64, batch = 1, repeat = 3;
  bool train = false;
  Precision precision = Precision::f32;  ///< of training

  void declare(OptionSet& options);
  /// Throws UsageError for options that exclude each other.
  void check() const;
};

/// Median, minimum and maximum of some values.
struct Figure {
  double median = 0, least = 0, most = 0;
};

/// One phase, prefill or decode, over all rounds. A round times one or several intervals of some
/// tokens each, with a sample of the machine's limits before and after every one.
struct PhaseReport {
  Figure tokens_per_s;
  std::vector<double> rates;    ///< tokens/s of each interval
  double flops = 0, bytes = 0;  ///< that a token costs at least
  double gflops = 0, gbps = 0;  ///< medians
  /// Share of the nearer limit: FLOP/s of the peak of the dot product, or bytes/s of the memory's
  /// read rate, whichever is larger. Median over intervals, each with its own limits.
  double share = 0;
};

/// Rate of a over that of b, which took turns: the median over pairs of intervals.
double ratio_of(const PhaseReport& a, const PhaseReport& b);

/// Training steps of `batch` sequences of `prompt` tokens.
struct TrainingReport {
  std::string model;
  Precision precision = Precision::f32;
  Figure tokens_per_s;
  double flops = 0;            ///< of a token: forward pass, and twice as many of the backward pass
  double optimizer_bytes = 0;  ///< of a step: what the optimiser reads and writes at least
  double gflops = 0;           ///< median
  /// Time of all products at the dot product's peak and of the optimiser at the memory's read rate,
  /// over the time that a step took.
  double share = 0;
  double first_loss = 0, last_loss = 0;
  std::int64_t weight_bytes = 0;
};

struct ModelReport {
  std::string model, weights;
  double reference_error = 0;  ///< ||scores - those of `ref`|| / ||those of `ref`||
  PhaseReport prefill, decode;
  double load_s = 0;
  std::int64_t weight_bytes = 0, cache_bytes = 0;
};

struct BenchReport {
  std::string isa;
  int threads = 0;
  kernels::Limits limits;                ///< medians
  std::vector<ModelReport> models;       ///< one, or the second that it was compared with too
  std::vector<TrainingReport> training;  ///< instead of `models`
  std::int64_t resident_bytes = 0;       ///< of training the peak
};

/// Opens one or two models, compares their scores with those of the scalar kernels, and times
/// generation in turns, or with `train` training steps, with samples of the machine's limits
/// between. Throws Error if the scores differ by more than the weights' type allows.
BenchReport bench(const BenchOptions& options, const Context& ctx);

}  // namespace moebius
