#include "kernels/grouped_ffn.h"

#include <algorithm>
#include <numeric>

#include "base/dtype.h"
#include "kernels/linear.h"
#include "kernels/scatter_add.h"
#include "kernels/tiles.h"

namespace moebius::kernels {
namespace {

/// The largest block of neurons that several tiles are multiplied with in turn.
constexpr std::int64_t max_neurons = 128;
/// About as many bytes of a matrix are read sequentially if it is multiplied with one tile: at a
/// jump a thread waits for memory, and what the hardware prefetched behind the old address is
/// wasted.
constexpr std::int64_t sequential_bytes = 1 << 20;

/// One call of `grouped_ffn`.
class GroupedRun {
 public:
  GroupedRun(const CpuContext& cpu, const GroupedFfn& args) : cpu_(cpu), args_(args) {}

  void run() {
    list_jobs();
    if (count_ == 0) return;
    prepare_rows();
    take_scratch();
    if (count_ == 1) gather_together();
    const WorkRanges ranges(cpu_.arena, blocks_, cpu_.executor.threads());
    const ScatterAdd down(cpu_, down_jobs(), args_.y, args_.ldy);
    cpu_.executor.run(cpu_.executor.threads(), [&](std::int64_t, int thread) {
      ranges.run(thread, blocks_, [&](std::int64_t begin, std::int64_t end) {
        hidden(begin, end, scratch_[thread]);
      });
      down.run(thread);
    });
    down.finish();
  }

 private:
  /// A job with rows.
  struct Active {
    const FfnJob* job;
    RowStore hidden;     ///< h, in tiles for `down`
    std::int64_t first;  ///< index of its first block of neurons among those of all jobs
    Latch blocks;        ///< of neurons that are not computed yet
  };

  const PackedShape& in_shape() const { return active_[0].job->up.shape; }
  Tiling tiling(const FfnJob& job) const { return {job.begin, job.end, max_rows_of_tile(job)}; }
  /// One tiling for x and h.
  int max_rows_of_tile(const FfnJob& job) const {
    return std::min(max_rows(cpu_.table, job.up.shape), max_rows(cpu_.table, job.down.shape));
  }

  void list_jobs() {
    active_ = cpu_.arena.take<Active>(std::ssize(args_.jobs));
    for (const FfnJob& job : args_.jobs) {
      if (job.begin == job.end) continue;
      const PackedShape& down = job.down.shape;
      block_ = std::lcm(pair_width, down.quantised() ? down.x_group() : pair_width);
      const std::int64_t blocks = ceil_div(down.k, block_);
      active_[count_] = {&job,
                         RowStore(cpu_.arena, down, job.end - job.begin),
                         blocks_,
                         {static_cast<std::int32_t>(blocks)}};
      blocks_ += blocks;
      max_job_rows_ = std::max(max_job_rows_, job.end - job.begin);
      ++count_;
    }
  }

  bool as_stored() const { return args_.type == stored_as(in_shape()) && !in_shape().quantised(); }

  /// Converts the rows of x, once for each token.
  void prepare_rows() {
    if (as_stored()) return;
    rows_ = RowStore(cpu_.arena, in_shape(), args_.tokens);
    run_pieces(cpu_, args_.tokens * in_shape().k, args_.tokens, [&](std::int64_t token, int) {
      const float* x = static_cast<const float*>(args_.x) + token * args_.ldx;
      cpu_.table.prepare(in_shape(), x, args_.ldx, 1, rows_.rows(token));
    });
  }

  /// Packs tiles [first, last) of a job's rows of x.
  void gather(const FfnJob& job, std::int64_t first, std::int64_t last, const RowStore& to) const {
    const Tiling tiles = tiling(job);
    if (as_stored()) {
      const Plain x{args_.x, args_.type, args_.ldx, args_.rows};
      return pack_tiles(cpu_.table, x, tiles, first, last, to, job.begin);
    }
    for (std::int64_t t = first; t < last; ++t) {
      const std::int64_t r = tiles.start(t);
      cpu_.table.interleave(in_shape(), rows_.rows(0), args_.rows + r,
                            to.tile(r - job.begin, tiles.size(t)));
    }
  }

  /// Packs the tiles of the only job on all threads.
  void gather_together() {
    const FfnJob& job = *active_[0].job;
    for_tiles_of_jobs(
        cpu_, max_job_rows_ * in_shape().k, 1, [&](std::int64_t) { return tiling(job); },
        [&](std::int64_t, std::int64_t first, std::int64_t last) {
          gather(job, first, last, scratch_[0].x);
        });
    for (int t = 0; t < cpu_.executor.threads(); ++t) scratch_[t].owner = active_;
  }

  /// Memory of a thread.
  struct Scratch {
    float* sums;    ///< gate x and up x of a block [M, 2 block]
    float* values;  ///< h of it [M, block]
    RowStore rows;
    std::byte *gate, *up;  ///< panels of a block, of plain matrices
    RowStore x;            ///< tiles of a job
    const Active* owner;   ///< the job whose tiles x holds
  };

  /// Blocks of neurons that a thread computes before it goes on to h.
  std::int64_t blocks_at_once() const {
    const FfnJob& job = *active_[0].job;
    const auto neurons_of = [&](std::int64_t bytes) {
      return bytes * panel_width / job.up.shape.panel_bytes();
    };
    std::int64_t neurons = max_neurons;
    if (!job.up.packed()) {  // packed panels stay in the cache
      neurons = std::min(neurons, neurons_of(cached_bytes / 2));
    } else if (max_job_rows_ <= max_rows_of_tile(job)) {
      neurons = std::max(neurons, neurons_of(sequential_bytes));
    }
    return std::max<std::int64_t>(1, neurons / block_);
  }

  void take_scratch() {
    scratch_ = cpu_.arena.take<Scratch>(cpu_.executor.threads());
    const FfnJob& job = *active_[0].job;
    for (int t = 0; t < cpu_.executor.threads(); ++t) {
      const bool shared = t > 0 && count_ == 1;  // all threads will work on the one job
      PackedShape part = job.down.shape;
      part.k = blocks_at_once() * block_;
      const std::int64_t panels = job.up.packed() ? 0 : part.k / panel_width;
      const std::int64_t rows = std::min<std::int64_t>(max_job_rows_, max_tile_rows);
      scratch_[t] = {cpu_.arena.take<float>(rows * 2 * part.k),
                     cpu_.arena.take<float>(rows * part.k),
                     RowStore(cpu_.arena, part, rows),
                     cpu_.arena.take<std::byte>(panels * job.gate.shape.panel_bytes()),
                     cpu_.arena.take<std::byte>(panels * job.up.shape.panel_bytes()),
                     shared ? scratch_[0].x : RowStore(cpu_.arena, in_shape(), max_job_rows_),
                     nullptr};
    }
  }

  /// h of blocks [at, end) of neurons, counted over all jobs.
  void hidden(std::int64_t at, std::int64_t end, Scratch& scratch) const {
    const std::int64_t at_once = blocks_at_once();
    Active* active = std::upper_bound(active_, active_ + count_, at,
                                      [](std::int64_t b, const Active& a) { return b < a.first; });
    for (--active; at < end; ++active) {
      if (scratch.owner != active) {
        gather(*active->job, 0, tiling(*active->job).count, scratch.x);
        scratch.owner = active;
      }
      const PackedShape& down = active->job->down.shape;
      const std::int64_t last = std::min(end, active->first + ceil_div(down.k, block_));
      for (std::int64_t step; at < last; at += step) {
        step = std::min(at_once, last - at);
        const std::int64_t first = (at - active->first) * block_;
        const std::int64_t behind = std::min(first + step * block_, down.k);
        Prefetcher next;
        if (behind < down.k) {
          next = prefetcher_for(*active->job, behind, behind + step * block_);
        } else if (active + 1 < active_ + count_) {  // the next expert
          next = prefetcher_for(*active[1].job, 0, at_once * block_);
        }
        hidden_block(*active, first, behind, scratch, next);
        active->blocks.count_down(static_cast<std::int32_t>(step));
      }
    }
  }

  static Prefetcher prefetcher_for(const FfnJob& job, std::int64_t begin, std::int64_t end) {
    const std::int64_t first = begin / panel_width;
    const std::int64_t last = 2 * ceil_div(std::min(end, job.down.shape.k), pair_width);
    return job.gate.defined() ? Prefetcher(job.gate, job.up, first, last)
                              : Prefetcher(job.up, first, last);
  }

  /// h of neurons [begin, end) for all rows of a job.
  void hidden_block(const Active& active, std::int64_t begin, std::int64_t end,
                    const Scratch& scratch, Prefetcher next) const {
    const FfnJob& job = *active.job;
    const bool gated = job.gate.defined();
    const Tiling tiles = tiling(job);
    // Neurons of a step: all for one tile, so that it reads a matrix sequentially.
    const std::int64_t width =
        tiles.count > 1 ? pair_width : ceil_div(end - begin, pair_width) * pair_width;
    const std::int64_t ld = gated ? 2 * width : width;
    PackedShape part = job.down.shape;
    part.k = end - begin;
    const std::int64_t first = begin / panel_width, last = 2 * ceil_div(end, pair_width);
    const Matrix up = packed_panels(cpu_.table, job.up, first, last, scratch.up);
    const Matrix gate =
        gated ? packed_panels(cpu_.table, job.gate, first, last, scratch.gate) : Matrix{};
    for (std::int64_t t = 0; t < tiles.count; ++t) {
      const std::int64_t r = tiles.start(t), m = tiles.size(t);
      const auto multiply = [&](const Matrix& w, const float* bias, std::int64_t n,
                                std::int64_t columns, float* sums) {
        for (std::int64_t c = 0; c < columns; c += pair_width) {
          run_tile(cpu_.table, panel_pair(w, (n + c) / pair_width),
                   scratch.x.tile(r - job.begin, m),
                   columns_at(sums + c, ld, columns - c, values_from(bias, n + c)), &next);
        }
      };
      for (std::int64_t n = begin; n < end; n += width) {
        const std::int64_t columns = std::min(width, end - n);
        float* up_sums = scratch.sums + (gated ? width : 0);
        if (gated) multiply(gate, job.gate_bias, n, columns, scratch.sums);
        multiply(up, job.up_bias, n, columns, up_sums);
        if (gated) keep(args_.gate_x, job, scratch.sums, r, m, n, columns, ld);
        keep(args_.up_x, job, up_sums, r, m, n, columns, ld);
        cpu_.table.activate({args_.activation, scratch.sums, scratch.values + (n - begin), m, width,
                             gated ? width : 0, ld, scratch.rows.shape.k});
      }
      make_tile(cpu_.table, part, scratch.values, scratch.rows.shape.k, scratch.rows.rows(0),
                active.hidden.tile(r - job.begin, m, begin));
    }
  }

  /// Stores columns [n, n + columns) of rows [r, r + m) for the backward pass.
  void keep(void* kept, const FfnJob& job, const float* x, std::int64_t r, std::int64_t m,
            std::int64_t n, std::int64_t columns, std::int64_t ld) const {
    if (kept == nullptr) return;
    const std::int64_t width = job.down.shape.k;
    const ValueType type = gradient_type(job);
    cpu_.table.convert({x, at(kept, type, r * width + n), type, m, columns, ld, width});
  }

  std::span<const ScatterAddJob> down_jobs() const {
    auto* jobs = cpu_.arena.take<ScatterAddJob>(count_);
    for (std::int64_t a = 0; a < count_; ++a) {
      const FfnJob& job = *active_[a].job;
      jobs[a] = {tiling(job), active_[a].hidden, job.down,          job.down_bias,
                 args_.rows,  args_.scales,      &active_[a].blocks};
    }
    return {jobs, static_cast<std::size_t>(count_)};
  }

  const CpuContext& cpu_;
  const GroupedFfn& args_;
  Active* active_ = nullptr;
  std::int64_t count_ = 0, blocks_ = 0, block_ = 0;
  std::int64_t max_job_rows_ = 0;
  RowStore rows_;
  Scratch* scratch_ = nullptr;
};

/// One call of `grouped_ffn_backward`. With h = act(g) u for g = gate x and u = up x, and s the
/// scale of a row: dh = dy down; dg = s dh u act'(g), du = s dh act(g); dx = dg gate + du up;
/// dgate, dup and ddown are the sums over rows of the outer products dg x, du x and dy s h; ds = dh
/// h + dy down_bias.
class BackwardRun {
 public:
  BackwardRun(const CpuContext& cpu, const GroupedFfnBackward& args) : cpu_(cpu), args_(args) {}

  void run() {
    list_jobs();
    if (count_ == 0) return;
    through_down();
    weight_gradients();
    bias_gradients();
    if (args_.dx != nullptr) to_x();
  }

 private:
  /// A job with rows.
  struct Active {
    const FfnJob* job;
    const FfnGradients* gradients;
    Tiling tiling;
  };

  /// Element [n, column] of [N, columns].
  template <class T>
  T* at(T* base, std::int64_t n, std::int64_t columns, std::int64_t column = 0) const {
    return kernels::at(base, type_, n * columns + column);
  }
  PackedShape shape(std::int64_t n, std::int64_t k) const { return {compute_, n, k}; }

  void list_jobs() {
    active_ = cpu_.arena.take<Active>(std::ssize(args_.jobs));
    for (std::size_t j = 0; j < args_.jobs.size(); ++j) {
      const FfnJob& job = args_.jobs[j];
      if (job.begin == job.end) continue;
      type_ = gradient_type(job);
      compute_ = type_ == ValueType::bf16 ? PackedType::bf16 : PackedType::f32;
      width_ = job.up.shape.n;
      columns_ = job.up.shape.k;
      gated_ = job.gate.defined();
      active_[count_++] = {&job, &args_.gradients[j],
                           Tiling(job.begin, job.end, max_rows(cpu_.table, shape(0, 0)))};
      rows_ = std::max(rows_, job.end);
    }
    const std::int64_t bytes = rows_ * width_ * size_of(type_);
    if (gated_) dgate_ = cpu_.arena.take<std::byte>(bytes);
    dup_ = cpu_.arena.take<std::byte>(bytes);
    hidden_ = cpu_.arena.take<std::byte>(bytes);
  }

  /// Packs the rows of all jobs, of x [N, k] or of its rows `ids`, into tiles.
  RowStore tiles_of_rows(const void* x, std::int64_t k, const std::int32_t* ids) const {
    const RowStore tiles(cpu_.arena, shape(0, k), rows_);
    for_tiles_of_jobs(
        cpu_, rows_ * k, count_, [&](std::int64_t a) { return active_[a].tiling; },
        [&](std::int64_t a, std::int64_t first, std::int64_t last) {
          pack_tiles(cpu_.table, {x, type_, k, ids}, active_[a].tiling, first, last, tiles);
        });
    return tiles;
  }

  /// Computes dh, and from it dg, du, s h and ds.
  void through_down() {
    const Arena::Scope scope(cpu_.arena);
    const RowStore dy = tiles_of_rows(args_.dy, columns_, args_.rows);
    const PackedShape down_T = shape(width_, columns_);
    const std::int64_t pairs = down_T.panels() / 2;
    const std::int64_t pairs_at_once =
        std::clamp<std::int64_t>(cached_bytes / (2 * down_T.panel_bytes()), 1, pairs);
    const std::int64_t blocks = ceil_div(pairs, pairs_at_once);
    auto* dots = cpu_.arena.take<float>(blocks * rows_);
    std::fill_n(dots, blocks * rows_, 0.0f);
    const PanelScratch scratch(cpu_, pairs_at_once * 2 * down_T.panel_bytes());
    cpu_.executor.run(count_ * blocks, [&](std::int64_t piece, int thread) {
      const Active& active = active_[piece / blocks];
      const std::int64_t block = piece % blocks, begin = block * pairs_at_once;
      const std::int64_t end = std::min(begin + pairs_at_once, pairs);
      const Matrix w = packed_panels(cpu_.table, transposed(active.job->down, compute_), 2 * begin,
                                     2 * end, scratch.of(thread));
      alignas(64) float dh[max_tile_rows * pair_width];
      for (std::int64_t t = 0; t < active.tiling.count; ++t) {
        const std::int64_t r = active.tiling.start(t), m = active.tiling.size(t);
        for (std::int64_t pair = begin; pair < end; ++pair) {
          const std::int64_t n = pair * pair_width, f = width_;
          run_tile(cpu_.table, panel_pair(w, pair), dy.tile(r, m), columns_at(dh, pair_width));
          cpu_.table.activate_backward(
              {args_.activation, type_, dh, gated_ ? at(args_.gate_x, r, f, n) : nullptr,
               at(args_.up_x, r, f, n), gated_ ? at<void>(dgate_, r, f, n) : nullptr,
               at<void>(dup_, r, f, n), at<void>(hidden_, r, f, n), args_.scales + r,
               dots + block * rows_ + r, m, std::min(pair_width, f - n), pair_width, f, f, f});
        }
      }
    });
    for (std::int64_t n = 0; n < rows_; ++n) {
      float sum = 0;
      for (std::int64_t b = 0; b < blocks; ++b) sum += dots[b * rows_ + n];
      args_.dscales[n] = sum;
    }
  }

  /// dw [N, K] = the transpose of left [rows, N] times right [rows, K], for each job.
  void weight_gradients() const {
    const std::int64_t bytes = count_ * width_ * columns_ * size_of(type_);
    for (std::int64_t a = 0; a < count_; ++a) {
      const FfnGradients& to = *active_[a].gradients;
      const std::int64_t begin = active_[a].job->begin, rows = active_[a].job->end - begin;
      const std::int32_t* ids = args_.rows + begin;
      const Plain x{args_.x, type_, columns_, ids, true}, dy{args_.dy, type_, columns_, ids, true};
      const auto of = [&](const void* values) {
        return Plain{at(values, begin, width_), type_, width_, nullptr, true};
      };
      const auto product = [&](const Plain& left, std::int64_t n, const Plain& right,
                               std::int64_t k, void* dw) {
        if (dw == nullptr) return;
        const Product p{.w = {.shape = shape(k, rows), .plain = right},
                        .y = dw,
                        .ldy = k,
                        .type = type_,
                        .non_temporal = bytes > non_temporal_bytes};
        linear(cpu_, left, n, {&p, 1});
      };
      if (gated_) product(of(dgate_), width_, x, columns_, to.gate);
      product(of(dup_), width_, x, columns_, to.up);
      product(dy, columns_, of(hidden_), width_, to.down);
    }
  }

  void bias_gradients() const {
    const auto value = [&](const void* base, std::int64_t n, std::int64_t columns, std::int64_t c) {
      const void* v = at(base, n, columns, c);
      return type_ == ValueType::f32 ? *static_cast<const float*>(v)
                                     : bf16_to_f32(*static_cast<const std::uint16_t*>(v));
    };
    cpu_.executor.run(count_, [&](std::int64_t a, int) {
      const FfnJob& job = *active_[a].job;
      const FfnGradients& to = *active_[a].gradients;
      const auto sum_rows = [&](float* sums, const void* base) {
        if (sums == nullptr) return;
        for (std::int64_t n = job.begin; n < job.end; ++n) {
          for (std::int64_t c = 0; c < width_; ++c) sums[c] += value(base, n, width_, c);
        }
      };
      sum_rows(to.gate_bias, dgate_);
      sum_rows(to.up_bias, dup_);
      if (job.down_bias == nullptr) return;
      for (std::int64_t n = job.begin; n < job.end; ++n) {
        float dot = 0;
        for (std::int64_t c = 0; c < columns_; ++c) {
          const float dy = value(args_.dy, args_.rows[n], columns_, c);
          dot += dy * job.down_bias[c];
          if (to.down_bias != nullptr) to.down_bias[c] += args_.scales[n] * dy;
        }
        args_.dscales[n] += dot;
      }
    });
  }

  void to_x() const {
    const Arena::Scope scope(cpu_.arena);
    auto* jobs = cpu_.arena.take<ScatterAddJob>(2 * count_);
    std::size_t jobs_count = 0;
    const auto add = [&](const void* gradient, Matrix FfnJob::*matrix) {
      const RowStore tiles = tiles_of_rows(gradient, width_, nullptr);
      for (std::int64_t a = 0; a < count_; ++a) {
        const FfnJob& job = *active_[a].job;
        RowStore own = tiles;
        own.x += job.begin * tiles.row_bytes();
        jobs[jobs_count++] = {active_[a].tiling, own,        transposed(job.*matrix, compute_),
                              nullptr,           args_.rows, nullptr};
      }
    };
    if (gated_) add(dgate_, &FfnJob::gate);
    add(dup_, &FfnJob::up);
    const ScatterAdd scatter(cpu_, {jobs, jobs_count}, args_.dx, columns_);
    cpu_.executor.run(cpu_.executor.threads(),
                      [&](std::int64_t, int thread) { scatter.run(thread); });
    scatter.finish();
  }

  const CpuContext& cpu_;
  const GroupedFfnBackward& args_;
  Active* active_ = nullptr;
  std::int64_t count_ = 0, rows_ = 0, width_ = 0, columns_ = 0;
  PackedType compute_ = PackedType::f32;
  ValueType type_ = ValueType::f32;
  bool gated_ = false;
  void *dgate_ = nullptr, *dup_ = nullptr, *hidden_ = nullptr;  ///< [N, F]
};

}  // namespace

ValueType gradient_type(const FfnJob& job) {
  const auto bf16 = [](const Matrix& w) { return gradient_type(w) == PackedType::bf16; };
  const bool gate = !job.gate.defined() || bf16(job.gate);
  return gate && bf16(job.up) && bf16(job.down) ? ValueType::bf16 : ValueType::f32;
}

void grouped_ffn(const CpuContext& cpu, const GroupedFfn& args) {
  const Arena::Scope scope(cpu.arena);
  GroupedRun(cpu, args).run();
}

void grouped_ffn_backward(const CpuContext& cpu, const GroupedFfnBackward& args) {
  const Arena::Scope scope(cpu.arena);
  BackwardRun(cpu, args).run();
}

}  // namespace moebius::kernels
