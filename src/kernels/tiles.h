// What drivers share: how they cut rows into tiles, hold them ready for the dot products, and run
// them.
#pragma once

#include <algorithm>

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

/// Two panels of matrices of one shape.
struct Panels {
  PackedShape shape;
  const std::byte* data[2];
  const std::uint16_t* scales[2];
};
/// Panel `panel` of both.
inline Panels gate_and_up(const PackedMatrix& a, const PackedMatrix& b, std::int64_t panel) {
  const std::int64_t data = panel * a.shape.panel_bytes(), scale = panel * a.shape.panel_scales();
  return {a.shape, {a.data + data, b.data + data}, {a.scales + scale, b.scales + scale}};
}
/// Panels 2 `pair` and 2 `pair` + 1.
inline Panels panel_pair(const PackedMatrix& w, std::int64_t pair) {
  const std::int64_t bytes = w.shape.panel_bytes(), scales = w.shape.panel_scales();
  const std::byte* data = w.data + 2 * pair * bytes;
  const std::uint16_t* scale = w.scales + 2 * pair * scales;
  return {w.shape, {data, data + bytes}, {scale, scale + scales}};
}

/// y [M, 32] of a tile; `next` are the panels that come after.
inline void run_tile(const KernelTable& table, const Panels& w, const Panels& next,
                     const TileRows& rows, float* y, std::int64_t ldy) {
  table.tile(w.shape, {rows,
                       {w.data[0], w.data[1]},
                       {w.scales[0], w.scales[1]},
                       y,
                       ldy,
                       {next.data[0], next.data[1]}});
}

/// Borders of pieces of work of `total` units: large ones first, so that threads walk far, and ever
/// smaller ones, so that they end together; none of more than `most`.
struct Pieces {
  std::int64_t* borders;
  std::int64_t count = 0;

  Pieces(Arena& arena, std::int64_t total, int threads, std::int64_t most) {
    const auto size_of = [&](std::int64_t left) {
      return std::clamp<std::int64_t>(left / (2 * threads), 1, most);
    };
    for (std::int64_t at = 0; at < total; at += size_of(total - at)) ++count;
    borders = arena.take<std::int64_t>(count + 1);
    borders[0] = 0;
    for (std::int64_t p = 0; p < count; ++p) {
      borders[p + 1] = borders[p] + size_of(total - borders[p]);
    }
  }
};

}  // namespace moebius::kernels
