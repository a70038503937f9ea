#include "kernels/self_attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/tiles.h"

namespace moebius::kernels {
namespace {

/// Panels of a matrix of which k may be cut.
struct Laid {
  PackedShape shape;
  std::byte* data = nullptr;

  Laid(Arena& arena, PackedType type, std::int64_t n, std::int64_t k)
      : shape{type, n, k}, data(arena.take<std::byte>(shape.bytes())) {}
  void fill(const KernelTable& table, const Plain& plain) const {
    on_hand(table, {.shape = shape, .plain = plain}, 0, shape.panels(), data);
  }
  /// Panels 2 `pair` and 2 `pair` + 1, columns [begin, end) of K; begin is even.
  Panels panels(std::int64_t pair, std::int64_t begin, std::int64_t end) const {
    const std::int64_t skipped = begin * panel_width * RowStore::element_bytes(shape.type);
    const std::byte* first = data + 2 * pair * shape.panel_bytes() + skipped;
    return {{shape.type, shape.n, end - begin}, {first, first + shape.panel_bytes()}};
  }
};

/// What both ways share.
class Heads {
 public:
  Heads(const CpuContext& cpu, const SelfAttention& args)
      : cpu_(cpu),
        args_(args),
        type_(args.type == ValueType::bf16 ? PackedType::bf16 : PackedType::f32),
        padded_(ceil_div(args.tokens, pair_width) * pair_width),
        tiling_(0, args.tokens, most_rows(cpu.table, {type_, 0, 0})) {}

 protected:
  /// Scores of a tile, and which of their columns count.
  struct Scores {
    float* values;  ///< [M, padded S]
    std::int32_t *first, *last;

    Scores(Arena& arena, std::int64_t padded)
        : values(arena.take<float>(max_tile_rows * padded)),
          first(arena.take<std::int32_t>(max_tile_rows)),
          last(arena.take<std::int32_t>(max_tile_rows)) {}
  };
  /// Tokens [begin, end) that a tile looks at, in whole pairs of panels.
  struct Seen {
    std::int64_t begin, end;
    std::int64_t columns() const { return end - begin; }
  };

  PackedShape shape(std::int64_t k) const { return {type_, 0, k}; }
  /// Rows of head or group `h` of a sequence.
  Plain rows(const void* x, std::int64_t ld, std::int64_t sequence, std::int64_t h,
             std::int64_t dim) const {
    return {at(x, args_.type, sequence * args_.tokens * ld + h * dim), args_.type, ld};
  }
  std::int64_t first_of(std::int64_t query) const {
    return args_.window > 0 ? std::max<std::int64_t>(0, query + 1 - args_.window) : 0;
  }

  Seen look(std::int64_t begin, std::int64_t rows, const Scores& scores) const {
    const Seen seen{first_of(begin) / pair_width * pair_width,
                    ceil_div(begin + rows, pair_width) * pair_width};
    for (std::int64_t r = 0; r < rows; ++r) {
      scores.first[r] = static_cast<std::int32_t>(first_of(begin + r) - seen.begin);
      scores.last[r] = static_cast<std::int32_t>(begin + r + 1 - seen.begin);
    }
    return seen;
  }

  /// x [M, k] times panels of rows of what is seen: [M, seen], rows `padded_` apart.
  void multiply(const TileRows& x, const Laid& w, const Seen& seen, float* y) const {
    for (std::int64_t n = seen.begin; n < seen.end; n += pair_width) {
      const Panels panels = w.panels(n / pair_width, 0, w.shape.k);
      run_tile(cpu_.table, panels, x, columns_at(y + (n - seen.begin), padded_));
    }
  }

  const CpuContext& cpu_;
  const SelfAttention& args_;
  PackedType type_;
  std::int64_t padded_;  ///< S in whole pairs of panels
  Tiling tiling_;
};

class Forward : Heads {
 public:
  Forward(const CpuContext& cpu, const SelfAttention& args)
      : Heads(cpu, args), scratch_(cpu.arena.take<Scratch>(cpu.executor.threads())) {
    for (int t = 0; t < cpu.executor.threads(); ++t) scratch_[t] = Scratch(*this);
  }

  void run(void* y, float* log_sums) {
    cpu_.executor.run(args_.sequences * args_.heads, [&](std::int64_t piece, int thread) {
      head(piece / args_.heads, piece % args_.heads, y, log_sums + piece * args_.tokens,
           scratch_[thread]);
    });
  }

 private:
  struct Scratch {
    Laid keys, values;
    Scores scores;
    RowStore q, shares_rows, shares;
    float *max, *sum;

    explicit Scratch(const Forward& f)
        : keys(f.cpu_.arena, f.type_, f.args_.tokens, f.args_.key_dim),
          values(f.cpu_.arena, f.type_, f.args_.value_dim, f.args_.tokens),
          scores(f.cpu_.arena, f.padded_),
          q(f.cpu_.arena, f.shape(f.args_.key_dim), max_tile_rows),
          shares_rows(f.cpu_.arena, f.shape(f.padded_), max_tile_rows),
          shares(f.cpu_.arena, f.shape(f.padded_), max_tile_rows),
          max(f.cpu_.arena.take<float>(max_tile_rows)),
          sum(f.cpu_.arena.take<float>(max_tile_rows)) {}
  };

  void head(std::int64_t sequence, std::int64_t h, void* y, float* log_sums,
            const Scratch& s) const {
    const KernelTable& table = cpu_.table;
    const std::int64_t group = h * args_.groups / args_.heads, dim = args_.value_dim;
    const Plain q = rows(args_.q, args_.ldq, sequence, h, args_.key_dim);
    s.keys.fill(table, rows(args_.k, args_.ldk, sequence, group, args_.key_dim));
    s.values.fill(table, transposed(rows(args_.v, args_.ldv, sequence, group, dim)));
    void* out = at(y, args_.type, (sequence * args_.tokens * args_.heads + h) * dim);
    for (std::int64_t t = 0; t < tiling_.count; ++t) {
      const std::int64_t begin = tiling_.start(t), m = tiling_.size(t);
      lay_tiles(table, q, tiling_, t, t + 1, s.q, begin);
      const Seen seen = look(begin, m, s.scores);
      multiply(s.q.tile(0, m), s.keys, seen, s.scores.values);
      std::fill_n(s.max, max_tile_rows, -std::numeric_limits<float>::infinity());
      std::fill_n(s.sum, max_tile_rows, 0.0f);
      table.softmax({s.scores.values, s.scores.first, s.scores.last, s.max, s.sum, m,
                     seen.columns(), padded_, args_.scale});
      const std::int64_t end = std::min(seen.end, args_.tokens);
      make_tile(table, shape(end - seen.begin), s.scores.values, padded_, s.shares_rows.rows(0),
                s.shares.tile(0, m));
      for (std::int64_t r = 0; r < m; ++r) {
        log_sums[begin + r] = s.max[r] + std::log(s.sum[r]);
        s.sum[r] = 1 / s.sum[r];
      }
      for (std::int64_t n = 0; n < dim; n += pair_width) {
        const Panels panels = s.values.panels(n / pair_width, seen.begin, end);
        const std::int64_t ld = args_.heads * dim;
        TileOutput to = columns_at(at(out, args_.type, begin * ld + n), ld, dim - n);
        to.type = args_.type;
        to.scales = s.sum;
        run_tile(table, panels, s.shares.tile(0, m), to);
      }
    }
  }

  Scratch* scratch_;
};

/// With P the shares, dP = dy V and D the sums of P dP over a row: dV = P dy, dS = P (dP - D)
/// scale, dQ = dS K, dK = dS Q.
class Backward : Heads {
 public:
  Backward(const CpuContext& cpu, const SelfAttention& args)
      : Heads(cpu, args),
        block_(std::min(std::max<std::int64_t>(block_values / padded_, 4 * max_tile_rows),
                        args.tokens)),
        scratch_(cpu.arena.take<Scratch>(cpu.executor.threads())) {
    for (int t = 0; t < cpu.executor.threads(); ++t) scratch_[t] = Scratch(*this);
  }

  void run(const float* log_sums, const void* dy, void* dq, void* dk, void* dv) {
    cpu_.executor.run(args_.sequences * args_.groups, [&](std::int64_t piece, int thread) {
      const std::int64_t sequence = piece / args_.groups, group = piece % args_.groups;
      const Scratch& s = scratch_[thread];
      const Plain k = rows(args_.k, args_.ldk, sequence, group, args_.key_dim);
      s.keys.fill(cpu_.table, k);
      s.keys_by_dim.fill(cpu_.table, transposed(k));
      s.values.fill(cpu_.table, rows(args_.v, args_.ldv, sequence, group, args_.value_dim));
      std::fill_n(s.dk, args_.tokens * s.key_width, 0.0f);
      std::fill_n(s.dv, args_.tokens * s.value_width, 0.0f);
      const std::int64_t share = args_.heads / args_.groups;
      for (std::int64_t h = group * share; h < (group + 1) * share; ++h) {
        const std::int64_t head = sequence * args_.heads + h;
        for (std::int64_t begin = 0; begin < args_.tokens; begin += block_) {
          const std::int64_t end = std::min(begin + block_, args_.tokens);
          queries(sequence, h, begin, end, log_sums + head * args_.tokens, dy, dq, s);
          keys(end, begin, s, s.dy, s.shares, s.dv, s.value_width);
          keys(end, begin, s, s.q, s.dscores, s.dk, s.key_width);
        }
      }
      const auto store = [&](const float* x, std::int64_t width, void* to, std::int64_t dim) {
        const std::int64_t ld = args_.groups * dim;
        void* out = at(to, args_.type, sequence * args_.tokens * ld + group * dim);
        cpu_.table.convert({x, out, args_.type, args_.tokens, dim, width, ld});
      };
      store(s.dk, s.key_width, dk, args_.key_dim);
      store(s.dv, s.value_width, dv, args_.value_dim);
    });
  }

 private:
  /// Shares that are held at once.
  static constexpr std::int64_t block_values = std::int64_t{1} << 18;

  struct Scratch {
    Laid keys, keys_by_dim, values;
    Laid q, dy;  ///< of a block of queries, K going over them
    Scores scores;
    RowStore q_tile, dy_tile, dscores_tile, left;
    std::byte *shares, *dscores;  ///< [block, padded S]
    float *dshares, *dk, *dv;
    std::int64_t key_width, value_width;

    explicit Scratch(const Backward& b)
        : keys(b.cpu_.arena, b.type_, b.args_.tokens, b.args_.key_dim),
          keys_by_dim(b.cpu_.arena, b.type_, b.args_.key_dim, b.args_.tokens),
          values(b.cpu_.arena, b.type_, b.args_.tokens, b.args_.value_dim),
          q(b.cpu_.arena, b.type_, b.args_.key_dim, b.block_),
          dy(b.cpu_.arena, b.type_, b.args_.value_dim, b.block_),
          scores(b.cpu_.arena, b.padded_),
          q_tile(b.cpu_.arena, b.shape(b.args_.key_dim), max_tile_rows),
          dy_tile(b.cpu_.arena, b.shape(b.args_.value_dim), max_tile_rows),
          dscores_tile(b.cpu_.arena, b.shape(b.padded_), max_tile_rows),
          left(b.cpu_.arena, b.shape(b.block_), max_tile_rows),
          shares(b.cpu_.arena.take<std::byte>(b.block_bytes())),
          dscores(b.cpu_.arena.take<std::byte>(b.block_bytes())),
          dshares(b.cpu_.arena.take<float>(max_tile_rows * b.padded_)),
          key_width(ceil_div(b.args_.key_dim, pair_width) * pair_width),
          value_width(ceil_div(b.args_.value_dim, pair_width) * pair_width) {
      dk = b.cpu_.arena.take<float>(b.args_.tokens * key_width);
      dv = b.cpu_.arena.take<float>(b.args_.tokens * value_width);
    }
  };

  std::int64_t block_bytes() const { return block_ * padded_ * size_of(args_.type); }

  /// Shares, gradients of scores and of queries of queries [begin, end) of a head.
  void queries(std::int64_t sequence, std::int64_t h, std::int64_t begin, std::int64_t end,
               const float* log_sums, const void* dy, void* dq, const Scratch& s) const {
    const KernelTable& table = cpu_.table;
    const std::int64_t ld = args_.heads * args_.key_dim;
    const auto from = [&](Plain x) {
      x.data = at(x.data, x.type, begin * x.ld);
      return x;
    };
    const Plain q = from(rows(args_.q, args_.ldq, sequence, h, args_.key_dim));
    const Plain d = from(rows(dy, args_.heads * args_.value_dim, sequence, h, args_.value_dim));
    const auto cut = [&](const Laid& laid, const Plain& x) {
      Laid block = laid;
      block.shape.k = end - begin;
      block.fill(table, transposed(x));
    };
    cut(s.q, q);
    cut(s.dy, d);
    std::memset(s.shares, 0, static_cast<std::size_t>(block_bytes()));
    std::memset(s.dscores, 0, static_cast<std::size_t>(block_bytes()));
    void* out = at(dq, args_.type, (sequence * args_.tokens + begin) * ld + h * args_.key_dim);
    const Tiling tiling(0, end - begin, most_rows(table, {type_, 0, 0}));
    for (std::int64_t t = 0; t < tiling.count; ++t) {
      const std::int64_t r = tiling.start(t), m = tiling.size(t);
      lay_tiles(table, q, tiling, t, t + 1, s.q_tile, r);
      lay_tiles(table, d, tiling, t, t + 1, s.dy_tile, r);
      const Seen seen = look(begin + r, m, s.scores);
      multiply(s.q_tile.tile(0, m), s.keys, seen, s.scores.values);
      multiply(s.dy_tile.tile(0, m), s.values, seen, s.dshares);
      const std::int64_t first = (r * padded_ + seen.begin) * size_of(args_.type);
      table.softmax_backward({s.scores.values, s.dshares, log_sums + begin + r, s.scores.first,
                              s.scores.last, args_.scale, args_.type, s.shares + first,
                              s.dscores + first, m, seen.columns(), padded_});
      RowStore tile = s.dscores_tile;
      const std::int64_t last = std::min(seen.end, args_.tokens);
      tile.shape.k = last - seen.begin;
      lay_tiles(table, {s.dscores + first, args_.type, padded_}, Tiling(0, m, max_tile_rows), 0, 1,
                tile);
      for (std::int64_t n = 0; n < args_.key_dim; n += pair_width) {
        const Panels panels = s.keys_by_dim.panels(n / pair_width, seen.begin, last);
        TileOutput to = columns_at(at(out, args_.type, r * ld + n), ld, args_.key_dim - n);
        to.type = args_.type;
        run_tile(table, panels, tile.tile(0, m), to);
      }
    }
  }

  /// Adds to sums [S, width], for keys below `end`, what a block of queries from `begin` on gives:
  /// its shares or gradients of scores transposed, times `right`.
  void keys(std::int64_t end, std::int64_t begin, const Scratch& s, const Laid& right,
            const std::byte* left, float* sums, std::int64_t width) const {
    const Tiling tiling(0, end, most_rows(cpu_.table, {type_, 0, 0}));
    Laid block = right;
    block.shape.k = end - begin;
    for (std::int64_t t = 0; t < tiling.count; ++t) {
      const std::int64_t r = tiling.start(t), m = tiling.size(t);
      // Queries before a key do not see it.
      const std::int64_t first = std::max<std::int64_t>(0, r - begin) / 2 * 2;
      RowStore tile = s.left;
      tile.shape.k = end - begin - first;
      const Plain x{left + first * padded_ * size_of(args_.type), args_.type, padded_, nullptr,
                    true};
      lay_tiles(cpu_.table, x, tiling, t, t + 1, tile, r);
      for (std::int64_t n = 0; n < width; n += pair_width) {
        const Panels panels = block.panels(n / pair_width, first, end - begin);
        TileOutput to = columns_at(sums + r * width + n, width);
        to.add = true;
        run_tile(cpu_.table, panels, tile.tile(0, m), to);
      }
    }
  }

  std::int64_t block_;
  Scratch* scratch_;
};

}  // namespace

void self_attention(const CpuContext& cpu, const SelfAttention& args, void* y, float* log_sums) {
  const Arena::Scope scope(cpu.arena);
  Forward(cpu, args).run(y, log_sums);
}

void self_attention_backward(const CpuContext& cpu, const SelfAttention& args,
                             const float* log_sums, const void* dy, void* dq, void* dk, void* dv) {
  const Arena::Scope scope(cpu.arena);
  Backward(cpu, args).run(log_sums, dy, dq, dk, dv);
}

}  // namespace moebius::kernels
