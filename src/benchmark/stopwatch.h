// Timing, with samples of the machine's limits between.
#pragma once

#include <algorithm>
#include <functional>
#include <vector>

#include "base/clock.h"
#include "benchmark/benchmark.h"

namespace moebius {

inline Figure figure_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return {values[values.size() / 2], values.front(), values.back()};
}

/// A timed interval: some tokens, and the mean of the limits before and after it.
struct Stretch {
  double seconds = 0, tokens = 0;
  kernels::Limits limits;
};

/// Times intervals and samples the limits before the first and after each.
class Stopwatch {
 public:
  explicit Stopwatch(std::function<kernels::Limits()> sample) : sample_(std::move(sample)) {}

  void start() {
    if (samples_.empty()) samples_.push_back(sample_());
    start_ = Clock::now();
  }
  void stop(double tokens, std::vector<Stretch>& stretches) {
    const double seconds = seconds_since(start_);
    samples_.push_back(sample_());
    const kernels::Limits &a = samples_[samples_.size() - 2], &b = samples_.back();
    stretches.push_back({seconds,
                         tokens,
                         {(a.read_gbps + b.read_gbps) / 2, (a.f32_gflops + b.f32_gflops) / 2,
                          (a.bf16_gflops + b.bf16_gflops) / 2, (a.int8_gops + b.int8_gops) / 2}});
  }
  const std::vector<kernels::Limits>& samples() const { return samples_; }

 private:
  std::function<kernels::Limits()> sample_;
  std::vector<kernels::Limits> samples_;
  Clock::time_point start_;
};

}  // namespace moebius
