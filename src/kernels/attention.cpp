#include "kernels/attention.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "base/dtype.h"
#include "kernels/tiles.h"

namespace moebius::kernels {
namespace {

constexpr std::int64_t chunk_tokens = 1024;

/// Softmax so far of the rows of a tile: y is relative to e^max.
struct Partial {
  float* y;    ///< [M, padded value_dim]
  float* max;  ///< [M]
  float* sum;  ///< [M]

  Partial(Arena& arena, std::int64_t width)
      : y(arena.take<float>(max_tile_rows * width)),
        max(arena.take<float>(max_tile_rows)),
        sum(arena.take<float>(max_tile_rows)) {}
  void clear(std::int64_t width) const {
    std::fill_n(y, max_tile_rows * width, 0.0f);
    std::fill_n(max, max_tile_rows, -std::numeric_limits<float>::infinity());
    std::fill_n(sum, max_tile_rows, 0.0f);
  }
};

/// Rows of one key/value head of one sequence that a tile holds: row r is query r / share and, of
/// the heads that share the keys, r % share.
struct TileWork {
  const Queries* queries;
  std::int64_t group, begin, rows;
};

/// Writes one token into a page; `element` makes of a value what the page holds.
template <class Element>
void append_token(const KvLayout& layout, std::byte* page, std::int64_t token, const float* k,
                  const float* v, Element element) {
  using Stored = decltype(element(0.0f));
  const PackedShape keys = layout.keys(), values = layout.values();
  const std::int64_t step = step_of(layout.type);
  for (std::int64_t g = 0; g < layout.groups; ++g) {
    std::byte* group = page + g * layout.group_bytes();
    auto* to_keys = reinterpret_cast<Stored*>(group + token / panel_width * keys.panel_bytes()) +
                    step * (token % panel_width);
    const float* key = k + g * layout.key_dim;
    for (std::int64_t a = 0; a < layout.key_dim; ++a) {
      to_keys[a / step * step * panel_width + a % step] = element(key[a]);
    }
    const float* value = v + g * layout.value_dim;
    for (std::int64_t a = 0; a < layout.value_dim; ++a) {
      auto* panel =
          reinterpret_cast<Stored*>(group + keys.bytes() + a / panel_width * values.panel_bytes());
      panel[token / step * step * panel_width + step * (a % panel_width) + token % step] =
          element(value[a]);
    }
  }
}

class AttentionRun {
 public:
  AttentionRun(const CpuContext& cpu, const Attention& args, std::span<const Queries> sequences)
      : cpu_(cpu),
        args_(args),
        share_(args.heads / args.layout.groups),
        width_(args.layout.values().panels() * panel_width) {
    list_work(sequences);
    scratch_ = cpu.arena.take<Scratch>(cpu.executor.threads());
    for (int t = 0; t < cpu.executor.threads(); ++t) scratch_[t] = make_scratch();
  }

  void run() {
    if (count_ >= 4 * cpu_.executor.threads() || chunks_ == 1) {
      cpu_.executor.run(count_, [&](std::int64_t w, int thread) {
        const Scratch& scratch = scratch_[thread];
        scratch.total.clear(width_);
        const std::int64_t chunks = chunks_of(work_[w]);
        for (std::int64_t c = 0; c < chunks; ++c) {
          attend_chunk(work_[w], c, scratch, scratch.partial);
          merge(work_[w], scratch.partial, scratch.total);
        }
        finish(work_[w], scratch.total);
      });
    } else {
      run_by_chunks();
    }
  }

 private:
  /// What a thread needs for a tile.
  struct Scratch {
    Partial partial, total;
    float* scores;  ///< [M, 64]; q before
    float* sums;    ///< [M, 32]
    float* decay;   ///< [M]
    std::int32_t *first, *last;
    RowStore q_rows, q, p_rows, p;
  };

  Scratch make_scratch() const {
    Arena& arena = cpu_.arena;
    const PackedShape q = args_.layout.keys(), p = args_.layout.values();
    return {Partial(arena, width_),
            Partial(arena, width_),
            arena.take<float>(max_tile_rows * std::max(page_tokens, args_.layout.key_dim)),
            arena.take<float>(max_tile_rows * pair_width),
            arena.take<float>(max_tile_rows),
            arena.take<std::int32_t>(max_tile_rows),
            arena.take<std::int32_t>(max_tile_rows),
            RowStore(arena, q, max_tile_rows),
            RowStore(arena, q, max_tile_rows),
            RowStore(arena, p, max_tile_rows),
            RowStore(arena, p, max_tile_rows)};
  }

  void list_work(std::span<const Queries> sequences) {
    const int most = most_rows(cpu_.table, args_.layout.keys());
    const auto tiles_of = [&](const Queries& q) { return Tiling(0, q.count * share_, most); };
    std::int64_t all = 0;
    for (const Queries& queries : sequences) all += tiles_of(queries).count * args_.layout.groups;
    work_ = cpu_.arena.take<TileWork>(all);
    for (const Queries& queries : sequences) {
      const Tiling tiling = tiles_of(queries);
      for (std::int64_t g = 0; g < args_.layout.groups; ++g) {
        for (std::int64_t t = 0; t < tiling.count; ++t) {
          work_[count_] = {&queries, g, tiling.start(t), tiling.size(t)};
          chunks_ = std::max(chunks_, chunks_of(work_[count_]));
          ++count_;
        }
      }
    }
  }

  /// Tokens that row r of a tile sees are [first, last).
  std::int64_t last_of(const TileWork& w, std::int64_t r) const {
    return w.queries->past + (w.begin + r) / share_ + 1;
  }
  std::int64_t first_of(const TileWork& w, std::int64_t r) const {
    return args_.window > 0 ? std::max<std::int64_t>(0, last_of(w, r) - args_.window) : 0;
  }
  std::int64_t chunks_of(const TileWork& w) const {
    return (last_of(w, w.rows - 1) + chunk_tokens - 1) / chunk_tokens;
  }

  void attend_chunk(const TileWork& w, std::int64_t chunk, const Scratch& scratch,
                    const Partial& out) const {
    out.clear(width_);
    const std::int64_t begin = std::max(chunk * chunk_tokens, first_of(w, 0)) / page_tokens;
    const std::int64_t end = std::min((chunk + 1) * chunk_tokens, last_of(w, w.rows - 1));
    if (begin * page_tokens >= end) return;
    load_queries(w, scratch);
    for (std::int64_t page = begin; page * page_tokens < end; ++page) {
      attend_page(w, page, scratch, out);
    }
  }

  void load_queries(const TileWork& w, const Scratch& scratch) const {
    const std::int64_t dim = args_.layout.key_dim;
    for (std::int64_t r = 0; r < w.rows; ++r) {
      const std::int64_t query = (w.begin + r) / share_, head = (w.begin + r) % share_;
      const float* q = w.queries->q + query * args_.ldq + (w.group * share_ + head) * dim;
      for (std::int64_t i = 0; i < dim; ++i) scratch.scores[r * dim + i] = q[i] * args_.scale;
    }
    make_tile(cpu_.table, scratch.q.shape, scratch.scores, dim, scratch.q_rows.rows(0),
              scratch.q.tile(0, w.rows));
  }

  void attend_page(const TileWork& w, std::int64_t page, const Scratch& scratch,
                   const Partial& out) const {
    const KernelTable& table = cpu_.table;
    const std::byte* data = w.queries->pages[page] + w.group * args_.layout.group_bytes();
    const PackedMatrix keys{args_.layout.keys(), data, nullptr};
    const PackedMatrix values{args_.layout.values(), data + keys.shape.bytes(), nullptr};
    for (std::int64_t pair = 0; pair < keys.shape.panels() / 2; ++pair) {
      run_pair(table, keys, pair, scratch.q.tile(0, w.rows), scratch.scores + pair * pair_width,
               page_tokens);
    }
    const std::int64_t begin = page * page_tokens;
    for (std::int64_t r = 0; r < w.rows; ++r) {
      const auto within = [&](std::int64_t token) {
        return static_cast<std::int32_t>(std::clamp<std::int64_t>(token - begin, 0, page_tokens));
      };
      scratch.first[r] = within(first_of(w, r));
      scratch.last[r] = within(last_of(w, r));
    }
    table.softmax({scratch.scores, scratch.first, scratch.last, out.max, out.sum, scratch.decay,
                   w.rows, page_tokens, page_tokens});
    make_tile(table, scratch.p.shape, scratch.scores, page_tokens, scratch.p_rows.rows(0),
              scratch.p.tile(0, w.rows));
    for (std::int64_t pair = 0; pair < values.shape.panels() / 2; ++pair) {
      run_pair(table, values, pair, scratch.p.tile(0, w.rows), scratch.sums, pair_width);
      table.decay_and_add({scratch.sums, out.y + pair * pair_width, scratch.decay, w.rows,
                           pair_width, pair_width, width_});
    }
  }

  /// Adds what a chunk gave to what the ones before did.
  void merge(const TileWork& w, const Partial& part, const Partial& total) const {
    cpu_.table.merge_softmax(
        {part.y, part.max, part.sum, total.y, total.max, total.sum, w.rows, width_});
  }

  void finish(const TileWork& w, const Partial& total) const {
    const std::int64_t dim = args_.layout.value_dim;
    for (std::int64_t r = 0; r < w.rows; ++r) {
      const std::int64_t query = (w.begin + r) / share_, head = (w.begin + r) % share_;
      float* y = w.queries->y + query * args_.ldy + (w.group * share_ + head) * dim;
      for (std::int64_t i = 0; i < dim; ++i) y[i] = total.y[r * width_ + i] / total.sum[r];
    }
  }

  /// Few tiles with a long past: their chunks are computed side by side.
  void run_by_chunks() {
    const std::int64_t pieces = count_ * chunks_;
    auto* parts = cpu_.arena.take<Partial>(pieces);
    for (std::int64_t i = 0; i < pieces; ++i) parts[i] = Partial(cpu_.arena, width_);
    cpu_.executor.run(pieces, [&](std::int64_t i, int thread) {
      const TileWork& w = work_[i / chunks_];
      if (i % chunks_ >= chunks_of(w)) return;
      attend_chunk(w, i % chunks_, scratch_[thread], parts[i]);
    });
    const Partial& total = scratch_[0].total;
    for (std::int64_t i = 0; i < count_; ++i) {
      total.clear(width_);
      for (std::int64_t c = 0; c < chunks_of(work_[i]); ++c) {
        merge(work_[i], parts[i * chunks_ + c], total);
      }
      finish(work_[i], total);
    }
  }

  const CpuContext& cpu_;
  const Attention& args_;
  std::int64_t share_;  ///< heads that read the same keys
  std::int64_t width_;  ///< of a value, padded
  std::int64_t chunks_ = 1, count_ = 0;
  TileWork* work_ = nullptr;
  Scratch* scratch_ = nullptr;
};

}  // namespace

void append_kv(const CpuContext& cpu, const KvLayout& layout, const KvPages& pages,
               std::int64_t past, std::int64_t count, const float* k, std::int64_t ldk,
               const float* v, std::int64_t ldv) {
  const auto append = [&]<class Element>(std::int64_t page, Element element) {
    const std::int64_t begin = std::max(past, page * page_tokens);
    const std::int64_t end = std::min(past + count, (page + 1) * page_tokens);
    for (std::int64_t token = begin; token < end; ++token) {
      const std::int64_t row = token - past;
      append_token(layout, pages[page], token % page_tokens, k + row * ldk, v + row * ldv, element);
    }
  };
  const std::int64_t first = past / page_tokens, last = (past + count - 1) / page_tokens;
  const std::int64_t values = count * layout.groups * (layout.key_dim + layout.value_dim);
  run_pieces(cpu, values, last - first + 1, [&](std::int64_t piece, int) {
    if (layout.type == PackedType::f32) {
      append(first + piece, [](float x) { return x; });
    } else {
      append(first + piece, f32_to_bf16);
    }
  });
}

void attend(const CpuContext& cpu, const Attention& args, std::span<const Queries> sequences) {
  const Arena::Scope scope(cpu.arena);
  AttentionRun(cpu, args, sequences).run();
}

}  // namespace moebius::kernels
