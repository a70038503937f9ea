#include "kernels/scatter_add.h"

#include <algorithm>

namespace moebius::kernels {

Scatter::Scatter(const CpuContext& cpu, std::span<const ScatterJob> jobs, float* y,
                 std::int64_t ldy)
    : cpu_(cpu), jobs_(jobs), y_(y), ldy_(ldy) {
  if (jobs.empty()) return;
  std::int64_t room = 0;
  most_ = pairs();
  bool one_tile = true;
  for (const ScatterJob& job : jobs) {
    most_ = std::min(most_, most_pairs(job.w, job.tiling.count));
    if (!job.w.packed()) room = std::max(room, 2 * job.w.shape.panel_bytes());
    one_tile = one_tile && job.w.packed() && job.tiling.count == 1;
    rows_ = std::max(rows_, job.tiling.begin + job.tiling.rows);
  }
  if (one_tile) {
    shares_ = Shares(cpu.arena, std::ssize(jobs) * pairs(), cpu.executor.threads());
    waiting_ = cpu.arena.take<float>(rows_ * pairs() * pair_width);
    return;
  }
  shares_ = Shares(cpu.arena, pairs(), cpu.executor.threads());
  rooms_ = PackingRooms(cpu, most_ * room);
}

void Scatter::run(int thread) const {
  shares_.walk(thread, most_, [&](std::int64_t begin, std::int64_t end) {
    if (waiting_ != nullptr) return read_on(begin, end);
    add_columns(begin, end, thread);
  });
}

/// Pairs [begin, end) of all jobs.
void Scatter::add_columns(std::int64_t begin, std::int64_t end, int thread) const {
  for (std::size_t j = 0; j < jobs_.size(); ++j) {
    const ScatterJob& job = jobs_[j];
    const Matrix w = on_hand(cpu_.table, job.w, 2 * begin, 2 * end, rooms_.of(thread));
    // What is read when this job is done.
    Ahead ahead(jobs_[std::min(j + 1, jobs_.size() - 1)].w, 2 * begin, 2 * end);
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
                 &ahead);
      }
    }
  }
}

/// Pairs [begin, end) of those of all jobs, which one tile meets.
void Scatter::read_on(std::int64_t begin, std::int64_t end) const {
  for (std::int64_t at = begin; at < end;) {
    const ScatterJob& job = jobs_[static_cast<std::size_t>(at / pairs())];
    const std::int64_t first = at % pairs(), last = std::min(pairs(), first + end - at);
    if (job.computed != nullptr) job.computed->wait();
    for (std::int64_t pair = first; pair < last; ++pair) {
      const std::int64_t n = pair * pair_width;
      run_tile(cpu_.table, panel_pair(job.w, pair), job.tiles.tile(0, job.tiling.rows),
               columns_at(waiting_row(job.tiling.begin) + n, pairs() * pair_width,
                          job.w.shape.n - n, values_from(job.bias, n)));
    }
    at += last - first;
  }
}

void Scatter::finish() const {
  if (waiting_ == nullptr) return;
  const std::int64_t n = jobs_[0].w.shape.n, threads = cpu_.executor.threads();
  const std::int64_t share = ceil_div(pairs(), threads) * pair_width;  // columns of a thread
  run_pieces(cpu_, rows_ * n, threads, [&](std::int64_t piece, int) {
    const std::int64_t begin = piece * share, end = std::min(begin + share, n);
    if (begin >= end) return;
    for (const ScatterJob& job : jobs_) {
      const Tiling& rows = job.tiling;
      cpu_.table.add_rows({.x = waiting_row(rows.begin) + begin,
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
