#include "kernels/drivers.h"

#include <algorithm>

#include "kernels/tiles.h"

namespace moebius::kernels {
namespace {

/// Rows of x in tiles, ready for the dot products.
RowStore tiles_of(const CpuContext& cpu, const PackedShape& shape, const Plain& x,
                  const Tiling& tiling) {
  if (x.type == stored_as(shape) && !shape.quantised()) {
    const RowStore tiles(cpu.arena, shape, tiling.rows);
    run_pieces(cpu, tiling.rows * shape.k, ceil_div(tiling.count, tiles_at_once),
               [&](std::int64_t piece, int) {
                 const std::int64_t first = piece * tiles_at_once;
                 lay_tiles(cpu.table, x, tiling, first,
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

/// Columns [n, n + columns) of rows [row, row + M) of a product.
void finish_product(const KernelTable& table, const Product& p, std::int64_t n,
                    std::int64_t columns, std::int64_t row, std::int64_t m, float* sums) {
  add_bias(p.bias == nullptr ? nullptr : p.bias + n, columns, m, sums);
  void* y = at(p.y, p.type, row * p.ldy + n);
  if (p.add) {
    float scales[max_tile_rows];
    std::fill_n(scales, m, p.scale);
    table.add_scaled(
        {sums, static_cast<float*>(y), nullptr, scales, m, columns, pair_width, p.ldy});
  } else {
    table.convert({sums, y, p.type, m, columns, pair_width, p.ldy});
  }
}

/// A product with so few columns that panels, not pairs of them, are work for all threads; few rows
/// of x in one tile.
void multiply_panels(const CpuContext& cpu, const Product& p, const TileRows& x) {
  const std::int64_t panels = ceil_div(p.w.shape.n, panel_width);
  auto* sums = cpu.arena.take<float>(panels * x.m * pair_width);
  cpu.executor.run(panels, [&](std::int64_t panel, int) {
    Panels both = panel_pair(p.w, panel / 2);
    both.data[1 - panel % 2] = both.data[panel % 2];
    both.scales[1 - panel % 2] = both.scales[panel % 2];
    run_tile(cpu.table, both, both, x, sums + panel * x.m * pair_width, pair_width);
  });
  for (std::int64_t panel = 0; panel < panels; ++panel) {
    finish_product(cpu.table, p, panel * panel_width,
                   std::min(panel_width, p.w.shape.n - panel * panel_width), 0, x.m,
                   sums + panel * x.m * pair_width);
  }
}

}  // namespace

void linear(const CpuContext& cpu, const Plain& x, std::int64_t m,
            std::span<const Product> products) {
  if (m == 0) return;
  const Arena::Scope scope(cpu.arena);
  const PackedShape& shape = products[0].w.shape;
  const Tiling tiling(0, m, most_rows(cpu.table, shape));
  const RowStore tiles = tiles_of(cpu, shape, x, tiling);
  std::int64_t pairs = 0;
  bool packed = true;
  for (const Product& p : products) {
    pairs += p.w.shape.panels() / 2;
    packed = packed && p.w.packed();
  }
  if (packed && products.size() == 1 && pairs < cpu.executor.threads() && tiling.count == 1 &&
      m <= streamed_rows) {
    return multiply_panels(cpu, products[0], tiles.tile(0, m));
  }
  const std::int64_t most = std::min(most_pairs(products[0].w, tiling.count), pairs);
  const Pieces pieces(cpu.arena, pairs, cpu.executor.threads(), most);
  const PackingRooms rooms(cpu, packed ? 0 : most * 2 * shape.panel_bytes());
  cpu.executor.run(pieces.count, [&](std::int64_t piece, int thread) {
    alignas(64) float sums[max_tile_rows * pair_width];
    std::int64_t first = 0;  // pair of the product in turn
    for (const Product& p : products) {
      const std::int64_t begin = std::max<std::int64_t>(pieces.borders[piece] - first, 0);
      const std::int64_t end = std::min(pieces.borders[piece + 1] - first, p.w.shape.panels() / 2);
      first += p.w.shape.panels() / 2;
      if (begin >= end) continue;
      const Matrix w = on_hand(cpu.table, p.w, 2 * begin, 2 * end, rooms.of(thread));
      const std::int64_t last = p.w.shape.panels() / 2;
      Ahead ahead(p.w, 2 * end, 2 * std::min(end + (end - begin), last));
      for (std::int64_t t = 0; t < tiling.count; ++t) {
        const std::int64_t r = tiling.start(t), rows = tiling.size(t);
        for (std::int64_t pair = begin; pair < end; ++pair) {
          if (p.add) {
            float* y = static_cast<float*>(p.y) + r * p.ldy + pair * pair_width;
            expect_sums(y, p.ldy, nullptr, rows);
          }
          run_tile(cpu.table, panel_pair(w, pair), panel_pair(w, pair + 1), tiles.tile(r, rows),
                   sums, pair_width, &ahead);
          const std::int64_t n = pair * pair_width;
          finish_product(cpu.table, p, n, std::min(pair_width, p.w.shape.n - n), r, rows, sums);
        }
      }
    }
  });
}

Scatter::Scatter(const CpuContext& cpu, std::span<const ScatterJob> jobs, float* y,
                 std::int64_t ldy)
    : table_(cpu.table), jobs_(jobs), y_(y), ldy_(ldy) {
  if (jobs.empty()) return;
  std::int64_t most = jobs[0].w.shape.panels() / 2, room = 0;
  for (const ScatterJob& job : jobs) {
    most = std::min(most, most_pairs(job.w, job.tiling.count));
    if (!job.w.packed()) room = std::max(room, 2 * job.w.shape.panel_bytes());
  }
  pieces_ = Pieces(cpu.arena, jobs[0].w.shape.panels() / 2, cpu.executor.threads(), most);
  rooms_ = PackingRooms(cpu, most * room);
}

void Scatter::run(std::int64_t piece, int thread) const {
  const std::int64_t begin = pieces_.borders[piece], end = pieces_.borders[piece + 1];
  for (std::size_t j = 0; j < jobs_.size(); ++j) {
    const ScatterJob& job = jobs_[j];
    const Matrix w = on_hand(table_, job.w, 2 * begin, 2 * end, rooms_.of(thread));
    // Where to read when this job is done.
    const Matrix& later = jobs_[std::min(j + 1, jobs_.size() - 1)].w;
    const Panels after = panel_pair(later.packed() ? later : w, begin);
    Ahead ahead(later, 2 * begin, 2 * end);
    if (job.computed != nullptr) job.computed->wait();
    alignas(64) float sums[max_tile_rows * pair_width];
    for (std::int64_t t = 0; t < job.tiling.count; ++t) {
      const std::int64_t r = job.tiling.start(t), m = job.tiling.size(t);
      for (std::int64_t pair = begin; pair < end; ++pair) {
        const std::int64_t n = pair * pair_width, columns = std::min(pair_width, w.shape.n - n);
        expect_sums(y_ + n, ldy_, job.ids + r, m);
        run_tile(table_, panel_pair(w, pair), pair + 1 < end ? panel_pair(w, pair + 1) : after,
                 job.tiles.tile(r - job.tiling.begin, m), sums, pair_width, &ahead);
        add_bias(job.bias == nullptr ? nullptr : job.bias + n, columns, m, sums);
        table_.add_scaled({sums, y_ + n, job.ids + r,
                           job.scales == nullptr ? nullptr : job.scales + r, m, columns, pair_width,
                           ldy_});
      }
    }
  }
}

}  // namespace moebius::kernels
