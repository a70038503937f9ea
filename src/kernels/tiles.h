// What drivers share: how they cut rows into tiles, hold rows and matrices ready for the dot
// products, and run them.
#pragma once

#include <algorithm>
#include <limits>

#include "kernels/cpu_context.h"
#include "kernels/matrix.h"

namespace moebius::kernels {

inline std::int64_t ceil_div(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}

/// Activations for matrices of one shape: rows as `prepare` leaves them, or in tiles, of which one
/// that begins at row r begins where row r would.
struct RowStore {
  PackedShape shape;
  std::byte* x = nullptr;
  float* scales = nullptr;
  std::int32_t* sums = nullptr;  ///< or the offsets of tiles

  RowStore() = default;
  RowStore(Arena& arena, const PackedShape& of, std::int64_t rows)
      : shape(of),
        x(arena.take<std::byte>(rows * row_bytes())),
        scales(arena.take<float>(rows * of.x_groups())),
        sums(arena.take<std::int32_t>(rows * of.groups())) {}

  static std::int64_t element_bytes(PackedType type) {
    return type == PackedType::f32 ? 4 : type == PackedType::bf16 ? 2 : 1;
  }
  std::int64_t row_bytes() const { return shape.padded_k() * element_bytes(shape.type); }
  Prepared rows(std::int64_t begin) const {
    return {x + begin * row_bytes(), scales + begin * shape.x_groups(),
            sums + begin * shape.groups()};
  }
  /// Of the tile of `m` rows from `begin` on, what begins at column k, which begins a group of x.
  TileRows tile(std::int64_t begin, std::int64_t m, std::int64_t k = 0) const {
    const auto first = [&](std::int64_t groups, std::int64_t group) {
      return begin * groups + (groups > 0 ? k / group * m : 0);
    };
    return {x + begin * row_bytes() + k * m * element_bytes(shape.type),
            scales + first(shape.x_groups(), shape.x_group()),
            sums + first(shape.groups(), shape.group), static_cast<int>(m)};
  }
};

/// Rows [begin, end) in tiles of about equal size: the first `larger` ones have a row more.
struct Tiling {
  std::int64_t begin, rows, count, larger;

  Tiling(std::int64_t first, std::int64_t last, std::int64_t most)
      : begin(first),
        rows(last - first),
        count(ceil_div(rows, most)),
        larger(count == 0 ? 0 : rows % count) {}
  std::int64_t start(std::int64_t t) const {
    return begin + rows / count * t + std::min(t, larger);
  }
  std::int64_t size(std::int64_t t) const { return rows / count + (t < larger ? 1 : 0); }
};

/// Tiles that are laid out at once.
inline constexpr std::int64_t tiles_at_once = 8;

/// Calls work(job, first tile, last tile) for the tiles of several jobs, some at a time, on all
/// threads; `tiling_of(job)`.
template <class TilingOf, class Work>
void for_tiles_of_jobs(const CpuContext& cpu, std::int64_t values, std::int64_t jobs,
                       TilingOf tiling_of, Work work) {
  auto* first = cpu.arena.take<std::int64_t>(jobs + 1);  // of the pieces of each job
  first[0] = 0;
  for (std::int64_t j = 0; j < jobs; ++j) {
    first[j + 1] = first[j] + ceil_div(tiling_of(j).count, tiles_at_once);
  }
  run_pieces(cpu, values, first[jobs], [&](std::int64_t piece, int) {
    const std::int64_t j = std::upper_bound(first, first + jobs, piece) - first - 1;
    const std::int64_t begin = (piece - first[j]) * tiles_at_once;
    work(j, begin, std::min(begin + tiles_at_once, tiling_of(j).count));
  });
}

/// Columns of a tile.
inline constexpr std::int64_t pair_width = 2 * panel_width;

/// Weights of a piece that meets many tiles; they are to stay in the second-level cache.
inline constexpr std::int64_t cached_bytes = 1 << 19;

inline int most_rows(const KernelTable& table, const PackedShape& shape) {
  return table.tile_rows[static_cast<int>(shape.type)];
}

/// Rows of x [M, K] as one tile; `rows` is room for them on the way.
inline void make_tile(const KernelTable& table, const PackedShape& shape, const float* x,
                      std::int64_t ldx, const Prepared& rows, const TileRows& tile) {
  table.prepare(shape, x, ldx, tile.m, rows);
  table.interleave(shape, rows, nullptr, tile);
}

/// Lanes [begin, end) of a plain matrix in blocks: its rows, or columns where it is transposed.
inline void lay_lanes(const KernelTable& table, const PackedShape& shape, const Plain& x,
                      std::int64_t begin, std::int64_t end, std::int64_t width, std::int64_t blocks,
                      void* out) {
  const void* data = x.data;
  const std::int32_t* ids = x.ids;
  if (x.transposed) {
    data = at(data, x.type, begin);
  } else if (ids != nullptr) {
    ids += begin;
  } else {
    data = at(data, x.type, begin * x.ld);
  }
  table.lay_out({.from = data,
                 .stored = x.type,
                 .ld = x.ld,
                 .ids = ids,
                 .transposed = x.transposed,
                 .readable = end - begin,
                 .k = shape.k,
                 .lanes = std::min(end - begin, width * blocks),
                 .width = width,
                 .blocks = blocks,
                 .type = shape.type,
                 .out = out});
}

/// Tiles [first, last) of the rows of x, which has as many as `tiling`'s end, of the type that x is
/// stored as; the store begins with row `origin`.
inline void lay_tiles(const KernelTable& table, const Plain& x, const Tiling& tiling,
                      std::int64_t first, std::int64_t last, const RowStore& store,
                      std::int64_t origin = 0) {
  while (first < last) {
    const std::int64_t same = first < tiling.larger ? std::min(last, tiling.larger) : last;
    const std::int64_t row = tiling.start(first), size = tiling.size(first);
    lay_lanes(table, store.shape, x, row, tiling.begin + tiling.rows, size, same - first,
              store.tile(row - origin, size).x);
    first = same;
  }
}

/// Panels [begin, end) of w, which are packed into `room` if they are not yet.
inline Matrix on_hand(const KernelTable& table, const Matrix& w, std::int64_t begin,
                      std::int64_t end, std::byte* room) {
  if (w.packed()) return w;
  if (w.transpose_data != nullptr) {
    table.transpose_panels({.shape = w.transpose_shape,
                            .w = w.transpose_data,
                            .begin = begin,
                            .end = end,
                            .type = w.shape.type,
                            .out = room});
  } else {
    lay_lanes(table, w.shape, w.plain, begin * panel_width, w.shape.n, panel_width, end - begin,
              room);
  }
  return {.shape = w.shape, .data = room, .first = begin};
}

/// Two panels of a matrix.
struct Panels {
  PackedShape shape;
  const std::byte* data[2];
};
/// Panels 2 `pair` and 2 `pair` + 1.
inline Panels panel_pair(const Matrix& w, std::int64_t pair) {
  const std::byte* data = w.data + (2 * pair - w.first) * w.shape.panel_bytes();
  return {w.shape, {data, data + w.shape.panel_bytes()}};
}

/// Panels of the piece of work that comes next, or the rows that they will be packed from: what
/// tiles with many rows ask for bit by bit.
struct Ahead {
  const std::byte* at[2] = {};
  std::int64_t left = 0;  ///< bytes of each

  Ahead() = default;
  /// Panels [begin, end) of w: halves of them.
  Ahead(const Matrix& w, std::int64_t begin, std::int64_t end)
      : at{panel(w, begin), panel(w, begin + (end - begin) / 2)},
        left((end - begin) / 2 * bytes_of_panel(w)) {}
  /// Those of two matrices.
  Ahead(const Matrix& a, const Matrix& b, std::int64_t begin, std::int64_t end)
      : at{panel(a, begin), panel(b, begin)}, left((end - begin) * bytes_of_panel(a)) {}

 private:
  /// 0 where they do not lie in one piece.
  static std::int64_t bytes_of_panel(const Matrix& w) {
    if (w.packed()) return w.shape.panel_bytes();
    if (w.plain.data == nullptr) return 0;
    const bool together = !w.plain.transposed && w.plain.ids == nullptr && w.plain.ld == w.shape.k;
    return together ? panel_width * w.shape.k * size_of(w.plain.type) : 0;
  }
  static const std::byte* panel(const Matrix& w, std::int64_t number) {
    const std::byte* first = w.packed() ? w.data : static_cast<const std::byte*>(w.plain.data);
    return first + (number - w.first) * bytes_of_panel(w);
  }
};

/// Those from n on, of values that may be absent.
inline const float* values_from(const float* values, std::int64_t n) {
  return values == nullptr ? nullptr : values + n;
}

/// Columns of y and their bias, as many as two neighbouring panels have or the `left` ones that are
/// left.
inline TileOutput columns_at(void* y, std::int64_t ldy, std::int64_t left = pair_width,
                             const float* bias = nullptr) {
  const std::int64_t second = std::clamp<std::int64_t>(left - panel_width, 0, panel_width);
  return {.y = y,
          .ldy = ldy,
          .columns = {std::min(left, panel_width), second},
          .bias = {bias, second > 0 ? values_from(bias, panel_width) : nullptr}};
}

/// A tile; of what comes `ahead`, when all rows have met the panels of this piece, as much is asked
/// for meanwhile as lets many rows compute on.
inline void run_tile(const KernelTable& table, const Panels& w, const TileRows& rows,
                     const TileOutput& out, Ahead* ahead = nullptr) {
  Tile tile{rows, {w.data[0], w.data[1]}, out, {}};
  if (rows.m > streamed_rows && ahead != nullptr && ahead->left > 0) {
    const std::int64_t bytes = w.shape.panel_bytes() / 8;
    for (int i = 0; i < 2; ++i) {
      tile.next[i] = ahead->at[i];
      ahead->at[i] += bytes;
    }
    ahead->left -= bytes;
  }
  table.tile(w.shape, tile);
}

/// Pairs of panels of a piece of work at most: where they meet several tiles or have to be packed
/// first, as many as stay cached.
inline std::int64_t most_pairs(const Matrix& w, std::int64_t tiles) {
  if (tiles == 1 && w.packed()) return std::numeric_limits<std::int64_t>::max();
  return std::max<std::int64_t>(1, cached_bytes / (2 * w.shape.panel_bytes()));
}

/// For each thread room to pack `bytes` of panels.
struct PackingRooms {
  std::byte* begin = nullptr;
  std::int64_t bytes = 0;

  PackingRooms() = default;
  PackingRooms(const CpuContext& cpu, std::int64_t each) : bytes(each) {
    begin = cpu.arena.take<std::byte>(each * cpu.executor.threads());
  }
  std::byte* of(int thread) const { return begin + thread * bytes; }
};

inline ValueType stored_as(const PackedShape& shape) {
  return shape.type == PackedType::bf16 ? ValueType::bf16 : ValueType::f32;
}

}  // namespace moebius::kernels
