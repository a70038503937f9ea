#include "kernels/scatter_add.h"

#include <algorithm>

namespace moebius::kernels {

ScatterAdd::ScatterAdd(const CpuContext& cpu, std::span<const ScatterAddJob> jobs, float* y,
                       std::int64_t ldy)
    : cpu_(cpu), jobs_(jobs), y_(y), ldy_(ldy) {
  if (jobs.empty()) return;
  std::int64_t scratch_bytes = 0;
  max_pairs_ = pairs();
  bool one_tile = true;
  for (const ScatterAddJob& job : jobs) {
    max_pairs_ = std::min(max_pairs_, max_pairs(job.w, job.tiling.count));
    if (!job.w.packed()) scratch_bytes = std::max(scratch_bytes, 2 * job.w.shape.panel_bytes());
    one_tile = one_tile && job.w.packed() && job.tiling.count == 1;
    rows_ = std::max(rows_, job.tiling.begin + job.tiling.rows);
  }
  if (one_tile) {
    ranges_ = WorkRanges(cpu.arena, std::ssize(jobs) * pairs(), cpu.executor.threads());
    partial_sums_ = cpu.arena.take<float>(rows_ * pairs() * pair_width);
    return;
  }
  ranges_ = WorkRanges(cpu.arena, pairs(), cpu.executor.threads());
  panel_scratch_ = PanelScratch(cpu, max_pairs_ * scratch_bytes);
}

void ScatterAdd::run(int thread) const {
  ranges_.run(thread, max_pairs_, [&](std::int64_t begin, std::int64_t end) {
    if (partial_sums_ != nullptr) return stream_jobs(begin, end);
    add_columns(begin, end, thread);
  });
}

/// Pairs [begin, end) of every job in turn.
void ScatterAdd::add_columns(std::int64_t begin, std::int64_t end, int thread) const {
  for (std::size_t j = 0; j < jobs_.size(); ++j) {
    const ScatterAddJob& job = jobs_[j];
    const Matrix w =
        packed_panels(cpu_.table, job.w, 2 * begin, 2 * end, panel_scratch_.of(thread));
    Prefetcher next_job(jobs_[std::min(j + 1, jobs_.size() - 1)].w, 2 * begin, 2 * end);
    if (job.computed != nullptr) job.computed->wait();
    for (std::int64_t t = 0; t < job.tiling.count; ++t) {
      const std::int64_t r = job.tiling.start(t), m = job.tiling.size(t);
      for (std::int64_t pair = begin; pair < end; ++pair) {
        const std::int64_t n = pair * pair_width;
        TileOutput out = columns_at(y_ + n, ldy_, w.shape.n - n, values_from(job.bias, n));
        out.ids = job.ids + r;
        out.scales = values_from(job.scales, r);
        out.add = true;
        run_tile(cpu_.table, panel_pair(w, pair), job.tiles.tile(r - job.tiling.begin, m), out,
                 &next_job);
      }
    }
  }
}

/// Pairs [begin, end) of the concatenation of all jobs, into partial sums.
void ScatterAdd::stream_jobs(std::int64_t begin, std::int64_t end) const {
  for (std::int64_t at = begin; at < end;) {
    const ScatterAddJob& job = jobs_[static_cast<std::size_t>(at / pairs())];
    const std::int64_t first = at % pairs(), last = std::min(pairs(), first + end - at);
    if (job.computed != nullptr) job.computed->wait();
    for (std::int64_t pair = first; pair < last; ++pair) {
      const std::int64_t n = pair * pair_width;
      run_tile(cpu_.table, panel_pair(job.w, pair), job.tiles.tile(0, job.tiling.rows),
               columns_at(partial_row(job.tiling.begin) + n, pairs() * pair_width,
                          job.w.shape.n - n, values_from(job.bias, n)));
    }
    at += last - first;
  }
}

void ScatterAdd::finish() const {
  if (partial_sums_ == nullptr) return;
  const std::int64_t n = jobs_[0].w.shape.n, threads = cpu_.executor.threads();
  const std::int64_t columns = ceil_div(pairs(), threads) * pair_width;  // of a thread
  run_pieces(cpu_, rows_ * n, threads, [&](std::int64_t piece, int) {
    const std::int64_t begin = piece * columns, end = std::min(begin + columns, n);
    if (begin >= end) return;
    for (const ScatterAddJob& job : jobs_) {
      const Tiling& rows = job.tiling;
      cpu_.table.add_rows({.x = partial_row(rows.begin) + begin,
                           .y = y_ + begin,
                           .ids = job.ids + rows.begin,
                           .scales = values_from(job.scales, rows.begin),
                           .m = rows.rows,
                           .columns = end - begin,
                           .ldx = pairs() * pair_width,
                           .ldy = ldy_});
    }
  });
}

}  // namespace moebius::kernels
