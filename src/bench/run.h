// Measuring how fast a model generates, beside what this machine can do.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/context.h"
#include "infer/weight_options.h"
#include "kernels/limits.h"

namespace moebius {

struct BenchOptions : WeightOptions {
  fs::path model, against;
  bool random_weights = false;
  std::int64_t prompt = 512, tokens = 64, batch = 1, repeat = 3;
  bool train = false;
  std::string precision = "f32";  ///< of training

  void declare(OptionSet& options);
};

/// Median, least and most.
struct Figure {
  double median = 0, least = 0, most = 0;
};

/// One phase, prefill or decode, over all repeats, each of which has a stretch or several of some
/// tokens.
struct PhaseReport {
  Figure tokens_per_s;
  std::vector<double> rates;    ///< tokens/s of each stretch
  double flops = 0, bytes = 0;  ///< that a token costs
  double gflops = 0, gbps = 0;  ///< medians
  /// Of the limit that is nearer, the dot product's for FLOPs or the memory's for bytes: median of
  /// what each stretch reached of the limits measured before and after it.
  double share = 0;
};

/// How many times as fast a was as b, which took turns: the median over their stretches.
double ratio_of(const PhaseReport& a, const PhaseReport& b);

/// Training steps of `batch` sequences of `prompt` tokens.
struct TrainingReport {
  std::string model, precision;
  Figure tokens_per_s;
  double flops = 0;            ///< of a token: products of the way there, and twice those back
  double optimizer_bytes = 0;  ///< of a step: what the update reads and writes at least
  double gflops = 0;           ///< median
  /// Of what products at the dot product's peak and the optimiser at the memory's would take, one
  /// after the other.
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
  std::vector<TrainingReport> training;  ///< instead of those
  std::int64_t resident_bytes = 0;       ///< of training the most that ever was
};

/// Opens one or two models, compares what they compute with the scalar kernels, and times them in
/// turns, stretch by stretch, with the limits of the machine; or with `train` their training steps.
/// Throws Error if they do not compute what the scalar kernels do.
BenchReport bench(const BenchOptions& options, const Context& ctx);

}  // namespace moebius
