// How drivers hold activations that are ready for the dot products.
#pragma once

#include "base/arena.h"
#include "kernels/kernels.h"

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

}  // namespace moebius::kernels
