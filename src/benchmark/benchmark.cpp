#include "benchmark/benchmark.h"

#include <algorithm>

#include "base/memory.h"
#include "benchmark/generation.h"
#include "benchmark/limits.h"
#include "benchmark/stopwatch.h"
#include "benchmark/training.h"
#include "model/runtime.h"
#include "ops/tensor_memory.h"
#include "ops/weight.h"

namespace moebius {
namespace {

using kernels::Limits;

Limits medians(const std::vector<Limits>& all) {
  const auto median = [&](double Limits::*part) {
    std::vector<double> values;
    for (const Limits& each : all) values.push_back(each.*part);
    return figure_of(values).median;
  };
  return {median(&Limits::read_gbps), median(&Limits::f32_gflops), median(&Limits::bf16_gflops),
          median(&Limits::int8_gops)};
}

/// Opens one or two models and measures them in turns, round by round.
template <class Subject, class Report>
BenchReport measure(const BenchOptions& options, const Context& ctx,
                    std::vector<Report> BenchReport::*reports) {
  std::vector<std::unique_ptr<Subject>> subjects;
  subjects.push_back(std::make_unique<Subject>(options.model, options, ctx));
  if (!options.against.empty()) {
    subjects.push_back(std::make_unique<Subject>(options.against, options, ctx));
  }
  // Before the buffers of limit sampling exist; of training, after one step.
  const std::int64_t resident = options.train ? peak_memory() : resident_memory();
  Stopwatch watch(limit_sampler(ctx));
  for (std::int64_t round = 0; round < options.repeat; ++round) {
    for (const auto& subject : subjects) subject->measure(watch);
  }
  const std::string isa = ctx.device == "cpu" ? kernel_table().isa : ctx.device;
  BenchReport report{isa, ctx.threads, medians(watch.samples()), {}, {}, resident};
  for (const auto& subject : subjects) (report.*reports).push_back(subject->report());
  return report;
}

}  // namespace

double ratio_of(const PhaseReport& a, const PhaseReport& b) {
  std::vector<double> ratios;
  for (std::size_t i = 0; i < std::min(a.rates.size(), b.rates.size()); ++i) {
    ratios.push_back(a.rates[i] / b.rates[i]);
  }
  return figure_of(std::move(ratios)).median;
}

BenchReport bench(const BenchOptions& options, const Context& ctx) {
  check_ranges_of(options);
  options.check();
  const ComputeScope scope(ctx);
  if (options.train) {
    const ops::KeptTensorMemory memory;
    return measure<TrainingSubject>(options, ctx, &BenchReport::training);
  }
  return measure<GenerationSubject>(options, ctx, &BenchReport::models);
}

}  // namespace moebius
