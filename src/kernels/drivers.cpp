#include "kernels/drivers.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <numeric>

#include "kernels/tiles.h"

namespace moebius::kernels {
namespace {

/// Weights of a piece that meets many tiles; they are to stay in the second-level cache.
constexpr std::int64_t cached_bytes = 1 << 19;
/// Most neurons of a piece.
constexpr std::int64_t most_neurons = 128;

std::int64_t ceil_div(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}

void add_bias(const float* bias, std::int64_t columns, std::int64_t m, float* y) {
  if (bias == nullptr) return;
  for (std::int64_t r = 0; r < m; ++r) {
    for (std::int64_t c = 0; c < columns; ++c) y[r * pair_width + c] += bias[c];
  }
}

/// Rows of x in tiles, ready for the dot products.
RowStore tiles_of(const CpuContext& cpu, const PackedShape& shape, const float* x, std::int64_t ldx,
                  const Tiling& tiling) {
  const RowStore rows(cpu.arena, shape, tiling.rows), tiles(cpu.arena, shape, tiling.rows);
  run_pieces(cpu, tiling.rows * shape.k, tiling.count, [&](std::int64_t t, int) {
    const std::int64_t r = tiling.start(t);
    make_tile(cpu.table, shape, x + r * ldx, ldx, rows.rows(r), tiles.tile(r, tiling.size(t)));
  });
  return tiles;
}

/// Pairs of panels of a piece of work at most: where they meet several tiles, as many as stay
/// cached.
std::int64_t most_pairs(const PackedShape& shape, std::int64_t tiles) {
  if (tiles == 1) return std::numeric_limits<std::int64_t>::max();
  return std::max<std::int64_t>(1, cached_bytes / (2 * shape.panel_bytes()));
}

void finish_product(const KernelTable& table, const Product& p, std::int64_t n, std::int64_t row,
                    std::int64_t m, float* sums) {
  const std::int64_t columns = std::min(pair_width, p.w.shape.n - n);
  add_bias(p.bias == nullptr ? nullptr : p.bias + n, columns, m, sums);
  float* y = p.y + row * p.ldy + n;
  if (p.add) {
    float scales[max_tile_rows];
    std::fill_n(scales, m, p.scale);
    table.add_scaled({sums, y, nullptr, scales, m, columns, pair_width, p.ldy});
    return;
  }
  for (std::int64_t r = 0; r < m; ++r) {
    std::memcpy(y + r * p.ldy, sums + r * pair_width,
                static_cast<std::size_t>(columns) * sizeof(float));
  }
}

/// One call of `grouped_ffn`.
class GroupedRun {
 public:
  GroupedRun(const CpuContext& cpu, const GroupedFfn& args) : cpu_(cpu), args_(args) {}

  void run() {
    list_jobs();
    if (count_ == 0) return;
    gather();
    hidden();
    down();
  }

 private:
  /// A job with rows.
  struct Active {
    const FfnJob* job;
    RowStore hidden;     ///< in the tiles of `down`
    std::int64_t first;  ///< of its blocks of neurons among all
  };

  const PackedShape& in_shape() const { return active_[0].job->up.shape; }
  Tiling tiling(const FfnJob& job) const {
    // One way to cut rows into tiles, for x and for what is hidden.
    const int most =
        std::min(most_rows(cpu_.table, job.up.shape), most_rows(cpu_.table, job.down.shape));
    return {job.begin, job.end, most};
  }

  void list_jobs() {
    active_ = cpu_.arena.take<Active>(std::ssize(args_.jobs));
    for (const FfnJob& job : args_.jobs) {
      if (job.begin == job.end) continue;
      const PackedShape& down = job.down.shape;
      block_ = std::lcm(pair_width, down.quantised() ? down.group : pair_width);
      active_[count_] = {&job, RowStore(cpu_.arena, down, job.end - job.begin), blocks_};
      blocks_ += ceil_div(down.k, block_);
      rows_ = std::max(rows_, job.end);
      ++count_;
    }
  }

  /// x in tiles of each job.
  void gather() {
    const PackedShape& shape = in_shape();
    const RowStore rows(cpu_.arena, shape, args_.tokens);
    tiles_ = RowStore(cpu_.arena, shape, rows_);
    run_pieces(cpu_, rows_ * shape.k, args_.tokens, [&](std::int64_t token, int) {
      cpu_.table.prepare(shape, args_.x + token * args_.ldx, args_.ldx, 1, rows.rows(token));
    });
    run_pieces(cpu_, rows_ * shape.k, count_, [&](std::int64_t a, int) {
      const Tiling tiles = tiling(*active_[a].job);
      for (std::int64_t t = 0; t < tiles.count; ++t) {
        const std::int64_t r = tiles.start(t);
        cpu_.table.interleave(shape, rows.rows(0), args_.rows + r, tiles_.tile(r, tiles.size(t)));
      }
    });
  }

  /// What a thread needs for a tile of some neurons.
  struct Scratch {
    float* sums;    ///< [M, 32]
    float* values;  ///< [M, block]
    RowStore rows;
  };

  void hidden() {
    // Neurons that a thread takes to the end at once, in whole blocks.
    const std::int64_t at_once = std::max<std::int64_t>(1, most_neurons / block_);
    auto* scratches = cpu_.arena.take<Scratch>(cpu_.executor.threads());
    for (int t = 0; t < cpu_.executor.threads(); ++t) {
      PackedShape part = active_[0].job->down.shape;
      part.k = at_once * block_;
      scratches[t] = {cpu_.arena.take<float>(max_tile_rows * pair_width),
                      cpu_.arena.take<float>(max_tile_rows * part.k),
                      RowStore(cpu_.arena, part, max_tile_rows)};
    }
    const Pieces pieces(cpu_.arena, blocks_, cpu_.executor.threads(), blocks_);
    cpu_.executor.run(pieces.count, [&](std::int64_t piece, int thread) {
      std::int64_t at = pieces.borders[piece];
      const Active* active =
          std::upper_bound(active_, active_ + count_, at,
                           [](std::int64_t b, const Active& a) { return b < a.first; });
      for (--active; at < pieces.borders[piece + 1]; ++active) {
        const PackedShape& down = active->job->down.shape;
        const std::int64_t last =
            std::min(pieces.borders[piece + 1], active->first + ceil_div(down.k, block_));
        for (std::int64_t step; at < last; at += step) {
          step = std::min(at_once, last - at);
          const std::int64_t begin = (at - active->first) * block_;
          hidden_block(*active, begin, std::min(begin + step * block_, down.k), scratches[thread]);
        }
      }
    });
  }

  /// Neurons [begin, end) of all rows of a job.
  void hidden_block(const Active& active, std::int64_t begin, std::int64_t end,
                    const Scratch& scratch) const {
    const FfnJob& job = *active.job;
    const bool gated = job.gate.data != nullptr;
    const std::int64_t width = gated ? panel_width : pair_width;  // neurons of a step
    const Tiling tiles = tiling(job);
    PackedShape part = job.down.shape;
    part.k = end - begin;
    const auto panels_of = [&](std::int64_t n) {
      return gated ? gate_and_up(job.gate, job.up, n / width) : panel_pair(job.up, n / width);
    };
    const auto from = [](const float* bias, std::int64_t n) {
      return bias == nullptr ? bias : bias + n;
    };
    for (std::int64_t t = 0; t < tiles.count; ++t) {
      const std::int64_t r = tiles.start(t), m = tiles.size(t);
      for (std::int64_t n = begin; n < end; n += width) {
        const std::int64_t columns = std::min(width, end - n);
        run_tile(cpu_.table, panels_of(n), panels_of(n + width), tiles_.tile(r, m), scratch.sums,
                 pair_width);
        if (gated) add_bias(from(job.gate_bias, n), columns, m, scratch.sums);
        add_bias(from(job.up_bias, n), columns, m, scratch.sums + (gated ? panel_width : 0));
        cpu_.table.activate({args_.activation, scratch.sums, scratch.values + (n - begin), m, width,
                             gated ? panel_width : 0, pair_width, scratch.rows.shape.k});
      }
      make_tile(cpu_.table, part, scratch.values, scratch.rows.shape.k, scratch.rows.rows(0),
                active.hidden.tile(r - job.begin, m, begin));
    }
  }

  void down() const {
    const PackedShape& shape = active_[0].job->down.shape;
    const Pieces pieces(cpu_.arena, shape.panels() / 2, cpu_.executor.threads(),
                        most_pairs(shape, rows_ / count_));
    cpu_.executor.run(pieces.count, [&](std::int64_t piece, int) {
      const std::int64_t begin = pieces.borders[piece], end = pieces.borders[piece + 1];
      for (std::int64_t a = 0; a < count_; ++a) {
        // Where to read when this job is done.
        const Active& after = active_[std::min(a + 1, count_ - 1)];
        down_columns(active_[a], begin, end, panel_pair(after.job->down, begin));
      }
    });
  }

  void down_columns(const Active& active, std::int64_t begin, std::int64_t end,
                    const Panels& after) const {
    const FfnJob& job = *active.job;
    const Tiling tiles = tiling(job);
    alignas(64) float sums[max_tile_rows * pair_width];
    for (std::int64_t t = 0; t < tiles.count; ++t) {
      const std::int64_t r = tiles.start(t), m = tiles.size(t);
      for (std::int64_t pair = begin; pair < end; ++pair) {
        const std::int64_t n = pair * pair_width;
        const std::int64_t columns = std::min(pair_width, job.down.shape.n - n);
        run_tile(cpu_.table, panel_pair(job.down, pair),
                 pair + 1 < end ? panel_pair(job.down, pair + 1) : after,
                 active.hidden.tile(r - job.begin, m), sums, pair_width);
        add_bias(job.down_bias == nullptr ? nullptr : job.down_bias + n, columns, m, sums);
        cpu_.table.add_scaled({sums, args_.y + n, args_.rows + r, args_.scales + r, m, columns,
                               pair_width, args_.ldy});
      }
    }
  }

  const CpuContext& cpu_;
  const GroupedFfn& args_;
  Active* active_ = nullptr;
  std::int64_t count_ = 0, blocks_ = 0, rows_ = 0, block_ = 0;
  RowStore tiles_;
};

}  // namespace

void linear(const CpuContext& cpu, const float* x, std::int64_t ldx, std::int64_t m,
            std::span<const Product> products) {
  if (m == 0) return;
  const Arena::Scope scope(cpu.arena);
  const PackedShape& shape = products[0].w.shape;
  const Tiling tiling(0, m, most_rows(cpu.table, shape));
  const RowStore tiles = tiles_of(cpu, shape, x, ldx, tiling);
  std::int64_t pairs = 0;
  for (const Product& p : products) pairs += p.w.shape.panels() / 2;
  const Pieces pieces(cpu.arena, pairs, cpu.executor.threads(), most_pairs(shape, tiling.count));
  cpu.executor.run(pieces.count, [&](std::int64_t piece, int) {
    alignas(64) float sums[max_tile_rows * pair_width];
    for (std::int64_t t = 0; t < tiling.count; ++t) {
      const std::int64_t r = tiling.start(t), rows = tiling.size(t);
      std::int64_t first = 0;  // pair of the product in turn
      for (const Product& p : products) {
        const std::int64_t last = first + p.w.shape.panels() / 2;
        const std::int64_t begin = std::max(pieces.borders[piece], first);
        for (std::int64_t at = begin; at < std::min(pieces.borders[piece + 1], last); ++at) {
          const std::int64_t pair = at - first;
          run_tile(cpu.table, panel_pair(p.w, pair), panel_pair(p.w, pair + 1), tiles.tile(r, rows),
                   sums, pair_width);
          finish_product(cpu.table, p, pair * pair_width, r, rows, sums);
        }
        first = last;
      }
    }
  });
}

void grouped_ffn(const CpuContext& cpu, const GroupedFfn& args) {
  const Arena::Scope scope(cpu.arena);
  GroupedRun(cpu, args).run();
}

}  // namespace moebius::kernels
