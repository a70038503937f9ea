// Where the metrics of a run go. Every sink has a cadence: it receives the figures of that many
// steps at once.
#pragma once

#include <memory>
#include <vector>

#include "base/files.h"
#include "train/metrics.h"

namespace moebius {

/// One step as the loop hands it to sinks.
struct StepRecord {
  std::int64_t step = 0, tokens = 0;  ///< both counted from the start of the run
  double seconds = 0;                 ///< of the run so far
  std::int64_t step_tokens = 0;       ///< of this step
  double step_seconds = 0;
  double lr = 0;
  Metrics metrics;
  bool with_layers = false;  ///< whether the table of layers is wanted
};

class MetricsSink {
 public:
  /// `every`: steps between two rows, at least 1.
  explicit MetricsSink(std::int64_t every) : every_(every) {}
  virtual ~MetricsSink() = default;
  MetricsSink(const MetricsSink&) = delete;
  MetricsSink& operator=(const MetricsSink&) = delete;

  /// Takes a step; writes a row when its number is a multiple of `every`. A row holds the figures
  /// of all steps since the last one.
  void add(const StepRecord& step);

 protected:
  virtual void write(const Json& row) = 0;

 private:
  std::int64_t every_;
  Metrics pending_;
  std::int64_t pending_tokens_ = 0;
  double pending_seconds_ = 0;
};

/// A file with one JSON object a line. Rows of steps after `step` that an earlier process left are
/// removed: they came after the checkpoint that the run goes on from.
class JsonLinesSink : public MetricsSink {
 public:
  JsonLinesSink(const fs::path& file, std::int64_t every, std::int64_t step);

 protected:
  void write(const Json& row) override;

 private:
  OutputFile file_;
};

}  // namespace moebius
