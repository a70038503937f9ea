// Products whose rows are added to rows of one output: the second half of a MoE layer.
#pragma once

#include <span>

#include "kernels/tiles.h"

namespace moebius::kernels {

/// A product whose rows are added to rows `ids` of y, `scales` times, or once without scales.
struct ScatterJob {
  Tiling tiling;
  RowStore tiles;  ///< from row `tiling.begin` on
  Matrix w;
  const float* bias;
  const std::int32_t* ids;  ///< of row 0
  const float* scales;
  Countdown* computed = nullptr;  ///< what has to be done before its tiles can be read, if anything
};

/// The work of adding all of them, each row's in the order of the jobs. Their matrices have one N.
/// If each meets one tile, memory is what takes time: they are read one after the other, and what
/// they give waits until all are done.
class Scatter {
 public:
  Scatter(const CpuContext& cpu, std::span<const ScatterJob> jobs, float* y, std::int64_t ldy);
  /// What falls to a thread.
  void run(int thread) const;
  /// When all of it is done.
  void finish() const;

 private:
  std::int64_t pairs() const { return jobs_[0].w.shape.panels() / 2; }
  float* waiting_row(std::int64_t row) const { return waiting_ + row * pairs() * pair_width; }
  void add_columns(std::int64_t begin, std::int64_t end, int thread) const;
  void read_on(std::int64_t begin, std::int64_t end) const;

  const CpuContext& cpu_;
  std::span<const ScatterJob> jobs_;
  float* y_;
  std::int64_t ldy_;
  Shares shares_;  ///< of the pairs of panels of each job; or of those of all jobs together
  std::int64_t most_ = 0;
  PackingRooms rooms_;
  float* waiting_ = nullptr;  ///< rows as the jobs number them
  std::int64_t rows_ = 0;
};

}  // namespace moebius::kernels
