// Products whose rows are added to rows of one output: the second half of a MoE layer.
#pragma once

#include <span>

#include "kernels/tiles.h"

namespace moebius::kernels {

/// A product whose rows are added to rows `ids` of y, times `scales` (1 without).
struct ScatterAddJob {
  Tiling tiling;
  RowStore tiles;  ///< begins with row `tiling.begin`
  Matrix w;
  const float* bias;
  const std::int32_t* ids;  ///< from row 0 on
  const float* scales;
  Latch* computed = nullptr;  ///< if given, is waited for before the tiles are read
};

/// Runs all jobs; a row's sums are added in the order of the jobs. All matrices have one N. If each
/// job is one tile, reading weights is the bottleneck: threads then read the matrices one after the
/// other as one stream, and partial sums are added when all are done.
class ScatterAdd {
 public:
  ScatterAdd(const CpuContext& cpu, std::span<const ScatterAddJob> jobs, float* y,
             std::int64_t ldy);
  /// A thread's part; call it on every thread.
  void run(int thread) const;
  /// To be called when `run` has returned on all threads.
  void finish() const;

 private:
  std::int64_t pairs() const { return jobs_[0].w.shape.panels() / 2; }
  float* partial_row(std::int64_t row) const { return partial_sums_ + row * pairs() * pair_width; }
  void add_columns(std::int64_t begin, std::int64_t end, int thread) const;
  void stream_jobs(std::int64_t begin, std::int64_t end) const;

  const CpuContext& cpu_;
  std::span<const ScatterAddJob> jobs_;
  float* y_;
  std::int64_t ldy_;
  WorkRanges
      ranges_;  ///< over pairs of panels: of each job, or with partial sums of all jobs in turn
  std::int64_t max_pairs_ = 0;  ///< of a piece of work
  PanelScratch panel_scratch_;
  float* partial_sums_ = nullptr;  ///< [rows of all jobs, padded N], if used
  std::int64_t rows_ = 0;
};

}  // namespace moebius::kernels
