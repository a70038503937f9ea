// What drivers share: how they cut rows into tiles, hold them ready for the dot products, and run
// them.
#pragma once

#include "kernels/drivers.h"

namespace moebius::kernels {

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
        scales(arena.take<float>(rows * of.groups())),
        sums(arena.take<std::int32_t>(rows * of.groups())) {}

  static std::int64_t element_bytes(PackedType type) {
    return type == PackedType::f32 ? 4 : type == PackedType::bf16 ? 2 : 1;
  }
  std::int64_t row_bytes() const { return shape.padded_k() * element_bytes(shape.type); }
  Prepared rows(std::int64_t begin) const {
    const std::int64_t g = begin * shape.groups();
    return {x + begin * row_bytes(), scales + g, sums + g};
  }
  /// Of the tile of `m` rows from `begin` on, what begins at column k, which begins a group.
  TileRows tile(std::int64_t begin, std::int64_t m, std::int64_t k = 0) const {
    const std::int64_t g = begin * shape.groups() + (shape.quantised() ? k / shape.group * m : 0);
    return {x + begin * row_bytes() + k * m * element_bytes(shape.type), scales + g, sums + g,
            static_cast<int>(m)};
  }
};

/// Rows [begin, end) in tiles of about equal size.
struct Tiling {
  std::int64_t begin, rows, count;

  Tiling(std::int64_t first, std::int64_t last, std::int64_t most)
      : begin(first), rows(last - first), count((last - first + most - 1) / most) {}
  std::int64_t start(std::int64_t t) const { return begin + rows * t / count; }
  std::int64_t size(std::int64_t t) const { return start(t + 1) - start(t); }
};

/// Columns of a tile.
inline constexpr std::int64_t pair_width = 2 * panel_width;

inline int most_rows(const KernelTable& table, const PackedShape& shape) {
  return table.tile_rows[static_cast<int>(shape.type)];
}

/// Rows of x [M, K] as one tile; `rows` is room for them on the way.
inline void make_tile(const KernelTable& table, const PackedShape& shape, const float* x,
                      std::int64_t ldx, const Prepared& rows, const TileRows& tile) {
  table.prepare(shape, x, ldx, tile.m, rows);
  table.interleave(shape, rows, nullptr, tile);
}

/// y [M, 32] of a tile with one panel of `a` and one of `b`, matrices of one shape.
inline void run_tile(const KernelTable& table, const PackedMatrix& a, std::int64_t panel_a,
                     const PackedMatrix& b, std::int64_t panel_b, const TileRows& rows, float* y,
                     std::int64_t ldy) {
  const auto data = [](const PackedMatrix& w, std::int64_t panel) {
    return w.data + panel * w.shape.panel_bytes();
  };
  const auto scales = [](const PackedMatrix& w, std::int64_t panel) {
    return w.scales + panel * w.shape.panel_scales();
  };
  table.tile(a.shape, {rows,
                       {data(a, panel_a), data(b, panel_b)},
                       {scales(a, panel_a), scales(b, panel_b)},
                       y,
                       ldy});
}

/// The same with two neighbouring panels.
inline void run_pair(const KernelTable& table, const PackedMatrix& w, std::int64_t pair,
                     const TileRows& rows, float* y, std::int64_t ldy) {
  run_tile(table, w, 2 * pair, w, 2 * pair + 1, rows, y, ldy);
}

}  // namespace moebius::kernels
