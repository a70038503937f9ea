#include "kernels/self_attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/tiles.h"

namespace moebius::kernels {
namespace {

/// A matrix in panels, of which products may take a range of K.
struct PackedPanels {
  PackedShape shape;
  std::byte* data = nullptr;

  PackedPanels(Arena& arena, PackedType type, std::int64_t n, std::int64_t k)
      : shape{type, n, k}, data(arena.take<std::byte>(shape.bytes())) {}
  /// The same memory for a matrix that needs no more of it.
  PackedPanels reshaped(std::int64_t n, std::int64_t k) const {
    PackedPanels out = *this;
    out.shape.n = n;
    out.shape.k = k;
    return out;
  }
  void pack(const KernelTable& table, const Plain& plain) const {
    packed_panels(table, {.shape = shape, .plain = plain}, 0, shape.panels(), data);
  }
  /// Panels 2 `pair` and 2 `pair` + 1, columns [begin, end) of K; begin is even.
  Panels panels(std::int64_t pair, std::int64_t begin, std::int64_t end) const {
    const std::int64_t skipped = begin * panel_width * RowStore::element_bytes(shape.type);
    const std::byte* first = data + 2 * pair * shape.panel_bytes() + skipped;
    return {{shape.type, shape.n, end - begin}, {first, first + shape.panel_bytes()}};
  }
};

/// One sequence: its rows [begin, begin + tokens).
struct Sequence {
  std::int64_t begin, tokens;
  std::int64_t padded;  ///< tokens rounded up to whole pairs of panels: the row stride of scores

  /// Queries whose probabilities the backward pass holds at once. It depends on the sequence alone,
  /// so that sums over queries have one order.
  std::int64_t block() const {
    constexpr std::int64_t probabilities = std::int64_t{1} << 18;
    return std::min(std::max<std::int64_t>(probabilities / padded, 4 * max_tile_rows), tokens);
  }
};

/// What forward and backward share.
class Heads {
 public:
  Heads(const CpuContext& cpu, const SelfAttention& args)
      : cpu_(cpu),
        args_(args),
        type_(args.type == ValueType::bf16 ? PackedType::bf16 : PackedType::f32),
        rows_(args.sequence_starts.back()) {
    list_sequences();
  }

 protected:
  /// Scores of a tile of queries, and which of their columns count.
  struct Scores {
    float* values;  ///< [M, padded]
    std::int32_t *first, *last;

    Scores(Arena& arena, std::int64_t padded)
        : values(arena.take<float>(max_tile_rows * padded)),
          first(arena.take<std::int32_t>(max_tile_rows)),
          last(arena.take<std::int32_t>(max_tile_rows)) {}
  };
  /// Keys [begin, end) that a tile of queries meets, in whole pairs of panels.
  struct KeyRange {
    std::int64_t begin, end;
    std::int64_t columns() const { return end - begin; }
  };

  /// Longest first: the last pieces of work are then the smallest, and threads end together.
  void list_sequences() {
    const std::int64_t count = std::ssize(args_.sequence_starts) - 1;
    auto* sequences = cpu_.arena.take<Sequence>(count);
    std::int64_t used = 0;
    for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
      const std::int64_t begin = args_.sequence_starts[i];
      const std::int64_t tokens = args_.sequence_starts[i + 1] - begin;
      if (tokens == 0) continue;
      sequences[used++] = {begin, tokens, ceil_div(tokens, pair_width) * pair_width};
    }
    sequences_ = {sequences, static_cast<std::size_t>(used)};
    std::sort(sequences, sequences + used, [](const Sequence& a, const Sequence& b) {
      return a.tokens != b.tokens ? a.tokens > b.tokens : a.begin < b.begin;
    });
  }
  /// The longest one; there is one.
  const Sequence& longest() const { return sequences_[0]; }

  PackedShape shape(std::int64_t k) const { return {type_, 0, k}; }
  Tiling tiles(std::int64_t rows) const {
    return Tiling(0, rows, max_rows(cpu_.table, {type_, 0, 0}));
  }
  /// Rows of head or group `h` of a sequence, from its row `first` on.
  Plain rows(const void* x, std::int64_t ld, const Sequence& s, std::int64_t h, std::int64_t dim,
             std::int64_t first = 0) const {
    return {at(x, args_.type, (s.begin + first) * ld + h * dim), args_.type, ld};
  }
  std::int64_t first_key(std::int64_t query) const {
    return args_.window > 0 ? std::max<std::int64_t>(0, query + 1 - args_.window) : 0;
  }

  /// The keys of queries [begin, begin + rows), with `first` and `last` of their scores.
  KeyRange key_range(std::int64_t begin, std::int64_t rows, const Scores& scores) const {
    const KeyRange keys{first_key(begin) / pair_width * pair_width,
                        ceil_div(begin + rows, pair_width) * pair_width};
    for (std::int64_t r = 0; r < rows; ++r) {
      scores.first[r] = static_cast<std::int32_t>(first_key(begin + r) - keys.begin);
      scores.last[r] = static_cast<std::int32_t>(begin + r + 1 - keys.begin);
    }
    return keys;
  }

  /// y [M, keys] = x [M, k] times the rows of w that are `keys`, transposed; rows of y `ldy` apart.
  void multiply(const TileRows& x, const PackedPanels& w, const KeyRange& keys, float* y,
                std::int64_t ldy) const {
    for (std::int64_t n = keys.begin; n < keys.end; n += pair_width) {
      const Panels panels = w.panels(n / pair_width, 0, w.shape.k);
      run_tile(cpu_.table, panels, x, columns_at(y + (n - keys.begin), ldy));
    }
  }

  const CpuContext& cpu_;
  const SelfAttention& args_;
  PackedType type_;
  std::int64_t rows_;  ///< N
  std::span<const Sequence> sequences_;
};

class Forward : Heads {
 public:
  Forward(const CpuContext& cpu, const SelfAttention& args) : Heads(cpu, args) {
    if (sequences_.empty()) return;
    scratch_ = cpu.arena.take<Scratch>(cpu.executor.threads());
    for (int t = 0; t < cpu.executor.threads(); ++t) scratch_[t] = Scratch(*this);
  }

  void run(void* y, float* log_sums) {
    const std::int64_t pieces = std::ssize(sequences_) * args_.heads;
    cpu_.executor.run(pieces, [&](std::int64_t piece, int thread) {
      const Sequence& s = sequences_[static_cast<std::size_t>(piece / args_.heads)];
      const std::int64_t h = piece % args_.heads;
      head(s, h, y, log_sums + h * rows_ + s.begin, scratch_[thread]);
    });
  }

 private:
  /// Memory of a thread.
  struct Scratch {
    PackedPanels keys, values;
    Scores scores;
    RowStore q, probability_rows, probabilities;
    float *max, *sum;

    explicit Scratch(const Forward& f)
        : keys(f.cpu_.arena, f.type_, f.longest().tokens, f.args_.key_dim),
          values(f.cpu_.arena, f.type_, f.args_.value_dim, f.longest().tokens),
          scores(f.cpu_.arena, f.longest().padded),
          q(f.cpu_.arena, f.shape(f.args_.key_dim), max_tile_rows),
          probability_rows(f.cpu_.arena, f.shape(f.longest().padded), max_tile_rows),
          probabilities(f.cpu_.arena, f.shape(f.longest().padded), max_tile_rows),
          max(f.cpu_.arena.take<float>(max_tile_rows)),
          sum(f.cpu_.arena.take<float>(max_tile_rows)) {}
  };

  void head(const Sequence& s, std::int64_t h, void* y, float* log_sums,
            const Scratch& scratch) const {
    const KernelTable& table = cpu_.table;
    const std::int64_t group = h * args_.groups / args_.heads, dim = args_.value_dim;
    const std::int64_t ldy = args_.heads * dim;
    const Plain q = rows(args_.q, args_.ldq, s, h, args_.key_dim);
    const PackedPanels keys = scratch.keys.reshaped(s.tokens, args_.key_dim);
    const PackedPanels values = scratch.values.reshaped(dim, s.tokens);
    keys.pack(table, rows(args_.k, args_.ldk, s, group, args_.key_dim));
    values.pack(table, transposed(rows(args_.v, args_.ldv, s, group, dim)));
    const Tiling tiling = tiles(s.tokens);
    for (std::int64_t t = 0; t < tiling.count; ++t) {
      const std::int64_t begin = tiling.start(t), m = tiling.size(t);
      pack_tiles(table, q, tiling, t, t + 1, scratch.q, begin);
      const KeyRange seen = key_range(begin, m, scratch.scores);
      multiply(scratch.q.tile(0, m), keys, seen, scratch.scores.values, s.padded);
      const std::int64_t end = std::min(seen.end, s.tokens);
      softmax(scratch, m, seen, s, log_sums + begin);
      make_tile(table, shape(end - seen.begin), scratch.scores.values, s.padded,
                scratch.probability_rows.rows(0), scratch.probabilities.tile(0, m));
      void* out = at(y, args_.type, (s.begin + begin) * ldy + h * dim);
      for (std::int64_t n = 0; n < dim; n += pair_width) {
        TileOutput to = columns_at(at(out, args_.type, n), ldy, dim - n);
        to.type = args_.type;
        to.scales = scratch.sum;
        run_tile(table, values.panels(n / pair_width, seen.begin, end),
                 scratch.probabilities.tile(0, m), to);
      }
    }
  }

  /// Scores become e^(score - max); `sum` the inverse of what they add up to.
  void softmax(const Scratch& scratch, std::int64_t m, const KeyRange& seen, const Sequence& s,
               float* log_sums) const {
    std::fill_n(scratch.max, max_tile_rows, -std::numeric_limits<float>::infinity());
    std::fill_n(scratch.sum, max_tile_rows, 0.0f);
    cpu_.table.softmax({scratch.scores.values, scratch.scores.first, scratch.scores.last,
                        scratch.max, scratch.sum, m, seen.columns(), s.padded, args_.scale});
    for (std::int64_t r = 0; r < m; ++r) {
      log_sums[r] = scratch.max[r] + std::log(scratch.sum[r]);
      scratch.sum[r] = 1 / scratch.sum[r];
    }
  }

  Scratch* scratch_ = nullptr;
};

/// With P the probabilities, dP = dy V and D the row sums of P dP: dV = P^T dy,
/// dS = P (dP - D) scale, dQ = dS K, dK = dS^T Q.
class Backward : Heads {
 public:
  Backward(const CpuContext& cpu, const SelfAttention& args) : Heads(cpu, args) {
    for (const Sequence& s : sequences_) {
      max_block_ = std::max(max_block_, s.block());
      max_bytes_ = std::max(max_bytes_, bytes(s));
    }
    if (sequences_.empty()) return;
    scratch_ = cpu.arena.take<Scratch>(cpu.executor.threads());
    for (int t = 0; t < cpu.executor.threads(); ++t) scratch_[t] = Scratch(*this);
  }

  void run(const float* log_sums, const void* dy, void* dq, void* dk, void* dv) {
    const std::int64_t pieces = std::ssize(sequences_) * args_.groups;
    cpu_.executor.run(pieces, [&](std::int64_t piece, int thread) {
      const Sequence& s = sequences_[static_cast<std::size_t>(piece / args_.groups)];
      group({s, piece % args_.groups, scratch_[thread]}, log_sums, dy, dq, dk, dv);
    });
  }

 private:
  /// Memory of a thread.
  struct Scratch {
    PackedPanels keys, keys_transposed, values;
    PackedPanels q, dy;  ///< of a block of queries, transposed: K goes over them
    Scores scores;
    RowStore q_tile, dy_tile, dscores_tile, key_tile;
    std::byte *probabilities, *dscores;  ///< [block, padded]
    float* dprobabilities;               ///< [M, padded]
    float *dk, *dv;                      ///< accumulators [tokens, width]
    std::int64_t key_width, value_width;

    explicit Scratch(const Backward& b)
        : keys(b.cpu_.arena, b.type_, b.longest().tokens, b.args_.key_dim),
          keys_transposed(b.cpu_.arena, b.type_, b.args_.key_dim, b.longest().tokens),
          values(b.cpu_.arena, b.type_, b.longest().tokens, b.args_.value_dim),
          q(b.cpu_.arena, b.type_, b.args_.key_dim, b.max_block_),
          dy(b.cpu_.arena, b.type_, b.args_.value_dim, b.max_block_),
          scores(b.cpu_.arena, b.longest().padded),
          q_tile(b.cpu_.arena, b.shape(b.args_.key_dim), max_tile_rows),
          dy_tile(b.cpu_.arena, b.shape(b.args_.value_dim), max_tile_rows),
          dscores_tile(b.cpu_.arena, b.shape(b.longest().padded), max_tile_rows),
          key_tile(b.cpu_.arena, b.shape(b.max_block_), max_tile_rows),
          probabilities(b.cpu_.arena.take<std::byte>(b.max_bytes_)),
          dscores(b.cpu_.arena.take<std::byte>(b.max_bytes_)),
          dprobabilities(b.cpu_.arena.take<float>(max_tile_rows * b.longest().padded)),
          key_width(ceil_div(b.args_.key_dim, pair_width) * pair_width),
          value_width(ceil_div(b.args_.value_dim, pair_width) * pair_width) {
      dk = b.cpu_.arena.take<float>(b.longest().tokens * key_width);
      dv = b.cpu_.arena.take<float>(b.longest().tokens * value_width);
    }
  };
  /// The work of one piece: a sequence, a group of key and value heads, the thread's memory.
  struct Piece {
    const Sequence& s;
    std::int64_t group;
    const Scratch& scratch;
  };
  struct Block {
    std::int64_t begin, end;  ///< queries
    std::int64_t size() const { return end - begin; }
  };

  /// Of a block of probabilities.
  std::int64_t bytes(const Sequence& s) const { return s.block() * s.padded * size_of(args_.type); }
  PackedPanels keys(const Piece& p) const {
    return p.scratch.keys.reshaped(p.s.tokens, args_.key_dim);
  }
  PackedPanels keys_transposed(const Piece& p) const {
    return p.scratch.keys_transposed.reshaped(args_.key_dim, p.s.tokens);
  }
  PackedPanels values(const Piece& p) const {
    return p.scratch.values.reshaped(p.s.tokens, args_.value_dim);
  }

  void group(const Piece& p, const float* log_sums, const void* dy, void* dq, void* dk,
             void* dv) const {
    const Scratch& scratch = p.scratch;
    const Plain k = rows(args_.k, args_.ldk, p.s, p.group, args_.key_dim);
    keys(p).pack(cpu_.table, k);
    keys_transposed(p).pack(cpu_.table, transposed(k));
    values(p).pack(cpu_.table, rows(args_.v, args_.ldv, p.s, p.group, args_.value_dim));
    std::fill_n(scratch.dk, p.s.tokens * scratch.key_width, 0.0f);
    std::fill_n(scratch.dv, p.s.tokens * scratch.value_width, 0.0f);
    const std::int64_t heads = args_.heads / args_.groups;
    for (std::int64_t h = p.group * heads; h < (p.group + 1) * heads; ++h) {
      for (std::int64_t begin = 0; begin < p.s.tokens; begin += p.s.block()) {
        const Block block{begin, std::min(begin + p.s.block(), p.s.tokens)};
        query_gradients(p, h, block, log_sums + h * rows_ + p.s.begin, dy, dq);
        const PackedPanels d = scratch.dy.reshaped(args_.value_dim, block.size());
        const PackedPanels q = scratch.q.reshaped(args_.key_dim, block.size());
        add_key_gradients(p, block, scratch.probabilities, d, scratch.dv, scratch.value_width);
        add_key_gradients(p, block, scratch.dscores, q, scratch.dk, scratch.key_width);
      }
    }
    store(p, scratch.dk, scratch.key_width, dk, args_.key_dim);
    store(p, scratch.dv, scratch.value_width, dv, args_.value_dim);
  }

  void store(const Piece& p, const float* sums, std::int64_t width, void* to,
             std::int64_t dim) const {
    const std::int64_t ld = args_.groups * dim;
    void* out = at(to, args_.type, p.s.begin * ld + p.group * dim);
    cpu_.table.convert({sums, out, args_.type, p.s.tokens, dim, width, ld});
  }

  /// Probabilities and score gradients of a block of queries of head h, and dq of them.
  void query_gradients(const Piece& p, std::int64_t h, const Block& block, const float* log_sums,
                       const void* dy, void* dq) const {
    const KernelTable& table = cpu_.table;
    const Scratch& scratch = p.scratch;
    const std::int64_t padded = p.s.padded, ldq = args_.heads * args_.key_dim;
    const Plain q = rows(args_.q, args_.ldq, p.s, h, args_.key_dim, block.begin);
    const Plain d = rows(dy, args_.heads * args_.value_dim, p.s, h, args_.value_dim, block.begin);
    scratch.q.reshaped(args_.key_dim, block.size()).pack(table, transposed(q));
    scratch.dy.reshaped(args_.value_dim, block.size()).pack(table, transposed(d));
    std::memset(scratch.probabilities, 0, static_cast<std::size_t>(bytes(p.s)));
    std::memset(scratch.dscores, 0, static_cast<std::size_t>(bytes(p.s)));
    const Tiling tiling = tiles(block.size());
    for (std::int64_t t = 0; t < tiling.count; ++t) {
      const std::int64_t r = tiling.start(t), m = tiling.size(t);
      pack_tiles(table, q, tiling, t, t + 1, scratch.q_tile, r);
      pack_tiles(table, d, tiling, t, t + 1, scratch.dy_tile, r);
      const KeyRange seen = key_range(block.begin + r, m, scratch.scores);
      multiply(scratch.q_tile.tile(0, m), keys(p), seen, scratch.scores.values, padded);
      multiply(scratch.dy_tile.tile(0, m), values(p), seen, scratch.dprobabilities, padded);
      const std::int64_t first = (r * padded + seen.begin) * size_of(args_.type);
      table.softmax_backward({scratch.scores.values, scratch.dprobabilities,
                              log_sums + block.begin + r, scratch.scores.first, scratch.scores.last,
                              args_.scale, args_.type, scratch.probabilities + first,
                              scratch.dscores + first, m, seen.columns(), padded});
      RowStore tile = scratch.dscores_tile;
      const std::int64_t end = std::min(seen.end, p.s.tokens);
      tile.shape.k = end - seen.begin;
      pack_tiles(table, {scratch.dscores + first, args_.type, padded}, Tiling(0, m, max_tile_rows),
                 0, 1, tile);
      void* out = at(dq, args_.type, (p.s.begin + block.begin + r) * ldq + h * args_.key_dim);
      for (std::int64_t n = 0; n < args_.key_dim; n += pair_width) {
        TileOutput to = columns_at(at(out, args_.type, n), ldq, args_.key_dim - n);
        to.type = args_.type;
        run_tile(table, keys_transposed(p).panels(n / pair_width, seen.begin, end), tile.tile(0, m),
                 to);
      }
    }
  }

  /// Adds to sums [tokens, width] of the keys before block.end the product of `left`, the block's
  /// probabilities or score gradients, transposed, with `right`.
  void add_key_gradients(const Piece& p, const Block& block, const std::byte* left,
                         const PackedPanels& right, float* sums, std::int64_t width) const {
    const Tiling tiling = tiles(block.end);
    const std::int64_t padded = p.s.padded;
    for (std::int64_t t = 0; t < tiling.count; ++t) {
      const std::int64_t r = tiling.start(t), m = tiling.size(t);
      // Queries before a key do not attend to it.
      const std::int64_t first = std::max<std::int64_t>(0, r - block.begin) / 2 * 2;
      RowStore tile = p.scratch.key_tile;
      tile.shape.k = block.size() - first;
      const Plain x{left + first * padded * size_of(args_.type), args_.type, padded, nullptr, true};
      pack_tiles(cpu_.table, x, tiling, t, t + 1, tile, r);
      for (std::int64_t n = 0; n < width; n += pair_width) {
        TileOutput to = columns_at(sums + r * width + n, width);
        to.add = true;
        run_tile(cpu_.table, right.panels(n / pair_width, first, block.size()), tile.tile(0, m),
                 to);
      }
    }
  }

  std::int64_t max_block_ = 0, max_bytes_ = 0;  ///< over all sequences
  Scratch* scratch_ = nullptr;
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
