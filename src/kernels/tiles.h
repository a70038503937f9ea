// Building blocks of products: dividing rows into tiles, packing rows and matrices for dot
// products, and running tiles.
#pragma once

#include <algorithm>
#include <limits>

#include "kernels/cpu_context.h"
#include "kernels/matrix.h"

namespace moebius::kernels {

inline std::int64_t ceil_div(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}

/// Memory of activations for matrices of one shape: either rows as `prepare` writes them, or
/// interleaved tiles; a tile that begins with row r is stored where row r would be.
struct RowStore {
  PackedShape shape;
  std::byte* x = nullptr;
  float* scales = nullptr;
  std::int32_t* sums = nullptr;  ///< of rows; of tiles their offsets

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
  /// The tile of rows [begin, begin + m), from column k on, where a group of x begins.
  TileRows tile(std::int64_t begin, std::int64_t m, std::int64_t k = 0) const {
    const auto first = [&](std::int64_t groups, std::int64_t group) {
      return begin * groups + (groups > 0 ? k / group * m : 0);
    };
    return {x + begin * row_bytes() + k * m * element_bytes(shape.type),
            scales + first(shape.x_groups(), shape.x_group()),
            sums + first(shape.groups(), shape.group), static_cast<int>(m)};
  }
};

/// Rows [first, last) divided into tiles of at most `max_rows` rows and nearly equal size: the
/// first `larger` ones have one row more.
struct Tiling {
  std::int64_t begin, rows, count, larger;

  Tiling(std::int64_t first, std::int64_t last, std::int64_t max_rows)
      : begin(first),
        rows(last - first),
        count(ceil_div(rows, max_rows)),
        larger(count == 0 ? 0 : rows % count) {}
  std::int64_t start(std::int64_t t) const {
    return begin + rows / count * t + std::min(t, larger);
  }
  std::int64_t size(std::int64_t t) const { return rows / count + (t < larger ? 1 : 0); }
};

/// Tiles that are packed in one piece of work.
inline constexpr std::int64_t tiles_at_once = 8;

/// Calls work(job, first tile, end tile) for the tiles of several jobs, `tiles_at_once` at a time,
/// on all threads; tiling_of(job) is a job's Tiling.
template <class TilingOf, class Work>
void for_tiles_of_jobs(const CpuContext& cpu, std::int64_t values, std::int64_t jobs,
                       TilingOf tiling_of, Work work) {
  auto* first = cpu.arena.take<std::int64_t>(jobs + 1);  // piece of each job
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

/// Bytes of weights that several tiles are multiplied with in turn: half of a level-2 cache of 1
/// MiB.
inline constexpr std::int64_t cached_bytes = 1 << 19;

/// Rows of the largest tile for a matrix of `shape`.
inline int max_rows(const KernelTable& table, const PackedShape& shape) {
  return table.tile_rows[static_cast<int>(shape.type)];
}

/// Converts rows of x [M, K] and interleaves them as one tile; `rows` is scratch.
inline void make_tile(const KernelTable& table, const PackedShape& shape, const float* x,
                      std::int64_t ldx, const Prepared& rows, const TileRows& tile) {
  table.prepare(shape, x, ldx, tile.m, rows);
  table.interleave(shape, rows, nullptr, tile);
}

/// Packs lanes [begin, end) of a plain matrix into blocks: its rows, or columns if it is
/// transposed.
inline void pack_lane_range(const KernelTable& table, const PackedShape& shape, const Plain& x,
                            std::int64_t begin, std::int64_t end, std::int64_t width,
                            std::int64_t blocks, void* out) {
  const void* data = x.data;
  const std::int32_t* ids = x.ids;
  if (x.transposed) {
    data = at(data, x.type, begin);
  } else if (ids != nullptr) {
    ids += begin;
  } else {
    data = at(data, x.type, begin * x.ld);
  }
  table.pack_lanes({.from = data,
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

/// Packs tiles [first, last) of the rows of x, without conversion; `store` begins with row
/// `origin`.
inline void pack_tiles(const KernelTable& table, const Plain& x, const Tiling& tiling,
                       std::int64_t first, std::int64_t last, const RowStore& store,
                       std::int64_t origin = 0) {
  while (first < last) {
    const std::int64_t same = first < tiling.larger ? std::min(last, tiling.larger) : last;
    const std::int64_t row = tiling.start(first), size = tiling.size(first);
    pack_lane_range(table, store.shape, x, row, tiling.begin + tiling.rows, size, same - first,
                    store.tile(row - origin, size).x);
    first = same;
  }
}

/// Panels [begin, end) of w, packed into `scratch` unless w is packed.
inline Matrix packed_panels(const KernelTable& table, const Matrix& w, std::int64_t begin,
                            std::int64_t end, std::byte* scratch) {
  if (w.packed()) return w;
  if (w.transpose_data != nullptr) {
    table.transpose_panels({.shape = w.transpose_shape,
                            .w = w.transpose_data,
                            .begin = begin,
                            .end = end,
                            .type = w.shape.type,
                            .out = scratch});
  } else {
    pack_lane_range(table, w.shape, w.plain, begin * panel_width, w.shape.n, panel_width,
                    end - begin, scratch);
  }
  return {.shape = w.shape, .data = scratch, .first = begin};
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

/// What tiles with many rows prefetch while they compute: panels of the next piece of work, or the
/// rows that they will be packed from.
struct Prefetcher {
  const std::byte* at[2] = {};
  std::int64_t left = 0;  ///< bytes from each address

  Prefetcher() = default;
  /// Panels [begin, end) of w, in two halves.
  Prefetcher(const Matrix& w, std::int64_t begin, std::int64_t end)
      : at{panel(w, begin), panel(w, begin + (end - begin) / 2)},
        left((end - begin) / 2 * bytes_of_panel(w)) {}
  /// Panels [begin, end) of two matrices.
  Prefetcher(const Matrix& a, const Matrix& b, std::int64_t begin, std::int64_t end)
      : at{panel(a, begin), panel(b, begin)}, left((end - begin) * bytes_of_panel(a)) {}

 private:
  /// 0 where a panel's source is not contiguous.
  static std::int64_t bytes_of_panel(const Matrix& w) {
    if (w.packed()) return w.shape.panel_bytes();
    if (w.plain.data == nullptr) return 0;
    const bool contiguous =
        !w.plain.transposed && w.plain.ids == nullptr && w.plain.ld == w.shape.k;
    return contiguous ? panel_width * w.shape.k * size_of(w.plain.type) : 0;
  }
  static const std::byte* panel(const Matrix& w, std::int64_t number) {
    const std::byte* first = w.packed() ? w.data : static_cast<const std::byte*>(w.plain.data);
    return first + (number - w.first) * bytes_of_panel(w);
  }
};

/// values + n, or null.
inline const float* values_from(const float* values, std::int64_t n) {
  return values == nullptr ? nullptr : values + n;
}

/// The output of two neighbouring panels at y, of which `left` columns exist, with their bias.
inline TileOutput columns_at(void* y, std::int64_t ldy, std::int64_t left = pair_width,
                             const float* bias = nullptr) {
  const std::int64_t second = std::clamp<std::int64_t>(left - panel_width, 0, panel_width);
  return {.y = y,
          .ldy = ldy,
          .columns = {std::min(left, panel_width), second},
          .bias = {bias, second > 0 ? values_from(bias, panel_width) : nullptr}};
}

/// Runs a tile. With more than `memory_bound_rows` rows it prefetches an eighth of a pair of
/// panels, so that a piece of 8 tiles or more has its successor in the cache.
inline void run_tile(const KernelTable& table, const Panels& w, const TileRows& rows,
                     const TileOutput& out, Prefetcher* prefetcher = nullptr) {
  Tile tile{rows, {w.data[0], w.data[1]}, out, {}};
  if (rows.m > memory_bound_rows && prefetcher != nullptr && prefetcher->left > 0) {
    const std::int64_t bytes = w.shape.panel_bytes() / 8;
    for (int i = 0; i < 2; ++i) {
      tile.next[i] = prefetcher->at[i];
      prefetcher->at[i] += bytes;
    }
    prefetcher->left -= bytes;
  }
  table.tile(w.shape, tile);
}

/// The largest number of pairs of panels in a piece of work: as many as stay in the cache where
/// several tiles multiply them or they have to be packed first, else no limit.
inline std::int64_t max_pairs(const Matrix& w, std::int64_t tiles) {
  if (tiles == 1 && w.packed()) return std::numeric_limits<std::int64_t>::max();
  return std::max<std::int64_t>(1, cached_bytes / (2 * w.shape.panel_bytes()));
}

/// Scratch of each thread for `bytes` of packed panels.
struct PanelScratch {
  std::byte* begin = nullptr;
  std::int64_t bytes = 0;

  PanelScratch() = default;
  PanelScratch(const CpuContext& cpu, std::int64_t each) : bytes(each) {
    begin = cpu.arena.take<std::byte>(each * cpu.executor.threads());
  }
  std::byte* of(int thread) const { return begin + thread * bytes; }
};

inline ValueType stored_as(const PackedShape& shape) {
  return shape.type == PackedType::bf16 ? ValueType::bf16 : ValueType::f32;
}

}  // namespace moebius::kernels
