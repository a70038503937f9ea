#include "kernels/linear.h"

#include <algorithm>
#include <atomic>

#include "kernels/tiles.h"

namespace moebius::kernels {
namespace {

/// Packs the rows of x into tiles.
RowStore tiles_of(const CpuContext& cpu, const PackedShape& shape, const Plain& x,
                  const Tiling& tiling) {
  if (x.type == stored_as(shape) && !shape.quantised()) {
    const RowStore tiles(cpu.arena, shape, tiling.rows);
    run_pieces(cpu, tiling.rows * shape.k, ceil_div(tiling.count, tiles_at_once),
               [&](std::int64_t piece, int) {
                 const std::int64_t first = piece * tiles_at_once;
                 pack_tiles(cpu.table, x, tiling, first,
                            std::min(first + tiles_at_once, tiling.count), tiles);
               });
    return tiles;
  }
  const RowStore rows(cpu.arena, shape, tiling.rows), tiles(cpu.arena, shape, tiling.rows);
  const auto* values = static_cast<const float*>(x.data);
  run_pieces(cpu, tiling.rows * shape.k, tiling.count, [&](std::int64_t t, int) {
    const std::int64_t r = tiling.start(t);
    make_tile(cpu.table, shape, values + r * x.ld, x.ld, rows.rows(r),
              tiles.tile(r, tiling.size(t)));
  });
  return tiles;
}

/// The output of rows from r on and columns [n, n + max_columns); `scales` holds the product's
/// scale for each row of a tile.
TileOutput output_of(const Product& p, const float* scales, std::int64_t r, std::int64_t n,
                     std::int64_t max_columns = pair_width) {
  TileOutput out = columns_at(at(p.y, p.type, r * p.ldy + n), p.ldy,
                              std::min(max_columns, p.w.shape.n - n), values_from(p.bias, n));
  out.type = p.type;
  out.add = p.add;
  if (p.add) out.scales = scales;
  out.non_temporal = p.non_temporal;
  return out;
}

/// A product with fewer pairs of panels than threads, for one tile of few rows: threads share
/// single panels instead of pairs.
void multiply_panels(const CpuContext& cpu, const Product& p, const TileRows& x) {
  float scales[max_tile_rows];
  std::ranges::fill(scales, p.scale);
  cpu.executor.run(ceil_div(p.w.shape.n, panel_width), [&](std::int64_t panel, int) {
    Panels both = panel_pair(p.w, panel / 2);
    both.data[1 - panel % 2] = both.data[panel % 2];
    run_tile(cpu.table, both, x, output_of(p, scales, 0, panel * panel_width, panel_width));
  });
}

}  // namespace

void linear(const CpuContext& cpu, const Plain& x, std::int64_t m,
            std::span<const Product> products) {
  if (m == 0) return;
  const Arena::Scope scope(cpu.arena);
  const PackedShape& shape = products[0].w.shape;
  const Tiling tiling(0, m, max_rows(cpu.table, shape));
  const RowStore tiles = tiles_of(cpu, shape, x, tiling);
  std::int64_t pairs = 0;
  bool packed = true, non_temporal = false;
  for (const Product& p : products) {
    pairs += p.w.shape.panels() / 2;
    packed = packed && p.w.packed();
    non_temporal = non_temporal || p.non_temporal;
  }
  if (packed && products.size() == 1 && pairs < cpu.executor.threads() && tiling.count == 1 &&
      m <= memory_bound_rows) {
    return multiply_panels(cpu, products[0], tiles.tile(0, m));
  }
  const std::int64_t pairs_at_once = std::min(max_pairs(products[0].w, tiling.count), pairs);
  const WorkRanges ranges(cpu.arena, pairs, cpu.executor.threads());
  const PanelScratch scratch(cpu, packed ? 0 : pairs_at_once * 2 * shape.panel_bytes());
  const auto multiply = [&](std::int64_t first_pair, std::int64_t last_pair, int thread) {
    std::int64_t first = 0;  // pair of p among those of all products
    for (const Product& p : products) {
      const std::int64_t begin = std::max<std::int64_t>(first_pair - first, 0);
      const std::int64_t end = std::min(last_pair - first, p.w.shape.panels() / 2);
      first += p.w.shape.panels() / 2;
      if (begin >= end) continue;
      const Matrix w = packed_panels(cpu.table, p.w, 2 * begin, 2 * end, scratch.of(thread));
      const std::int64_t last = p.w.shape.panels() / 2;
      Prefetcher prefetcher(p.w, 2 * end, 2 * std::min(end + (end - begin), last));
      float scales[max_tile_rows];
      std::ranges::fill(scales, p.scale);
      for (std::int64_t t = 0; t < tiling.count; ++t) {
        const std::int64_t r = tiling.start(t), rows = tiling.size(t);
        for (std::int64_t pair = begin; pair < end; ++pair) {
          run_tile(cpu.table, panel_pair(w, pair), tiles.tile(r, rows),
                   output_of(p, scales, r, pair * pair_width), &prefetcher);
        }
      }
    }
  };
  cpu.executor.run(cpu.executor.threads(), [&](std::int64_t, int thread) {
    ranges.run(thread, pairs_at_once,
               [&](std::int64_t begin, std::int64_t end) { multiply(begin, end, thread); });
    // Non-temporal stores are ordered by a full fence alone.
    if (non_temporal) std::atomic_thread_fence(std::memory_order_seq_cst);
  });
}

}  // namespace moebius::kernels
