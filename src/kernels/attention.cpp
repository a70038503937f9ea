#include "kernels/attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/dtype.h"
#include "kernels/codes.h"
#include "kernels/tiles.h"

namespace moebius::kernels {
namespace {

constexpr std::int64_t chunk_tokens = 512;

/// Partial result of an online softmax for the rows of a tile: y is relative to e^max.
struct Partial {
  float* y;    ///< [M, padded value_dim]
  float* max;  ///< [M]
  float* sum;  ///< [M]

  Partial(Arena& arena, std::int64_t width)
      : y(arena.take<float>(max_tile_rows * width)),
        max(arena.take<float>(max_tile_rows)),
        sum(arena.take<float>(max_tile_rows)) {}
  void clear(std::int64_t rows, std::int64_t width) const {
    std::fill_n(y, rows * width, 0.0f);
    std::fill_n(max, max_tile_rows, -std::numeric_limits<float>::infinity());
    std::fill_n(sum, max_tile_rows, 0.0f);
  }
};

/// A tile of queries of one key and value head of one sequence: row r is query r / share of head
/// r % share among the `share` heads that read the same keys.
struct TileWork {
  const NewTokens* tokens;
  std::int64_t group, begin, rows;
};

/// Appends keys and values of one head for all new tokens; `element` converts a value to the type
/// of the page, and whole(i, page, token) writes tokens from i on that fill a whole panel of keys.
template <class Element, class Whole>
void append(const Attention& args, const NewTokens& tokens, std::int64_t group, Element element,
            Whole whole) {
  using Stored = decltype(element(0.0f));
  const KvLayout& layout = args.layout;
  const PackedShape keys = layout.keys(), values = layout.values();
  const std::int64_t step = step_of(layout.type);
  // Bytes from one step of K to the next in a panel.
  const std::int64_t line = step * panel_width * static_cast<std::int64_t>(sizeof(Stored));
  for (std::int64_t i = 0, count; i < tokens.count; i += count) {
    const std::int64_t token = (tokens.past + i) % page_tokens, column = token % panel_width;
    count = std::min(tokens.count - i, panel_width - column);  // of one panel of keys
    std::byte* page = tokens.pages[(tokens.past + i) / page_tokens] + group * layout.group_bytes();
    if (count == panel_width) {
      whole(i, page, token);
      continue;
    }
    std::byte* to_keys = page + token / panel_width * keys.panel_bytes();
    // All cache misses in flight at once.
    for (std::int64_t a = 0; a < layout.key_dim; a += step) {
      __builtin_prefetch(to_keys + a / step * line, 1);
    }
    const float* key = tokens.k + i * args.ldk + group * layout.key_dim;
    for (std::int64_t a = 0; a < layout.key_dim; ++a) {
      auto* to = reinterpret_cast<Stored*>(to_keys + a / step * line) + step * column + a % step;
      for (std::int64_t t = 0; t < count; ++t) to[t * step] = element(key[t * args.ldk + a]);
    }
    const float* value = tokens.v + i * args.ldv + group * layout.value_dim;
    for (std::int64_t t = token; t < token + count; ++t, value += args.ldv) {
      std::byte* to_values = page + keys.bytes() + t / step * line;
      for (std::int64_t a = 0; a < layout.value_dim; ++a) {
        auto* row = reinterpret_cast<Stored*>(to_values + a / panel_width * values.panel_bytes());
        row[step * (a % panel_width) + t % step] = element(value[a]);
      }
    }
  }
}

/// Quantises `count` values: calls store(i, byte) with each code, from -127 to 127, plus the zero
/// point 128, and returns their scale, bf16, which is NaN if a value is not finite.
template <class Store>
std::uint16_t quantise(const float* x, std::int64_t count, Store store) {
  float largest = 0;
  bool finite = true;
  for (std::int64_t i = 0; i < count; ++i) {
    largest = std::max(largest, std::fabs(x[i]));
    finite = finite && std::isfinite(x[i]);
  }
  const std::uint16_t scale = f32_to_bf16(finite ? largest / 127 : std::nanf(""));
  const float stored = bf16_to_f32(scale), inverse = finite && stored > 0 ? 1 / stored : 0;
  const NearestCode nearest(PackedType::int8);
  for (std::int64_t i = 0; i < count; ++i) {
    store(i, static_cast<std::uint8_t>((finite ? nearest(x[i], inverse) : 0.0f) + 128));
  }
  return scale;
}

/// Appends keys and values of one head to pages of int8.
void append_codes(const Attention& args, const NewTokens& tokens, std::int64_t group) {
  const KvLayout& layout = args.layout;
  const PackedShape keys = layout.keys(), values = layout.values();
  for (std::int64_t i = 0; i < tokens.count; ++i) {
    const std::int64_t token = (tokens.past + i) % page_tokens, panel = token / panel_width;
    const std::int64_t column = token % panel_width;
    std::byte* page = tokens.pages[(tokens.past + i) / page_tokens] + group * layout.group_bytes();
    std::byte* key_panel = page + panel * keys.panel_bytes();
    auto* to_keys = reinterpret_cast<std::uint8_t*>(key_panel) + 4 * column;
    const float* key = tokens.k + i * args.ldk + group * layout.key_dim;
    for (std::int64_t g = 0; g < keys.groups(); ++g) {
      const std::int64_t begin = g * keys.group, count = std::min(keys.group, keys.k - begin);
      reinterpret_cast<std::uint16_t*>(key_panel + keys.scales_at(g))[column] =
          quantise(key + begin, count, [&](std::int64_t a, std::uint8_t code) {
            to_keys[keys.scales_before(begin) + (begin + a) / 4 * 4 * panel_width + a % 4] = code;
          });
    }
    std::byte* value_panels = page + layout.values_at();
    if (token == 0) {  // of a new page
      for (std::int64_t p = 0; p < values.panels(); ++p) {
        auto* scales = value_panels + p * values.panel_bytes() + values.scales_at(0);
        std::fill_n(reinterpret_cast<std::uint16_t*>(scales), panel_width, f32_to_bf16(1));
      }
    }
    auto* to_values = reinterpret_cast<std::uint8_t*>(value_panels) + values.scales_before(token) +
                      token / 4 * 4 * panel_width + token % 4;
    const float* value = tokens.v + i * args.ldv + group * layout.value_dim;
    reinterpret_cast<std::uint16_t*>(page + layout.value_scales_at())[token] =
        quantise(value, layout.value_dim, [&](std::int64_t a, std::uint8_t code) {
          to_values[a / panel_width * values.panel_bytes() + a % panel_width * 4] = code;
        });
  }
}

class AttentionRun {
 public:
  AttentionRun(const CpuContext& cpu, const Attention& args, std::span<const NewTokens> sequences)
      : cpu_(cpu),
        args_(args),
        sequences_(sequences),
        share_(args.heads / args.layout.groups),
        width_(args.layout.values().panels() * panel_width) {
    list_work();
    scratch_ = cpu.arena.take<Scratch>(cpu.executor.threads());
    for (int t = 0; t < cpu.executor.threads(); ++t) scratch_[t] = make_scratch();
  }

  void run() {
    const std::int64_t heads = std::ssize(sequences_) * args_.layout.groups;
    const bool by_chunks = count_ < 4 * cpu_.executor.threads() && chunks_ > 1;
    const bool apart = by_chunks || count_ > heads;  // several pieces read the same new keys
    if (apart) {
      cpu_.executor.run(heads, [&](std::int64_t h, int thread) {
        append_head(sequences_[static_cast<std::size_t>(h / args_.layout.groups)],
                    h % args_.layout.groups, scratch_[thread]);
      });
    }
    if (by_chunks) return run_by_chunks();
    cpu_.executor.run(count_, [&](std::int64_t w, int thread) {
      const TileWork& work = work_[w];
      const Scratch& scratch = scratch_[thread];
      if (!apart) append_head(*work.tokens, work.group, scratch);
      load_queries(work, scratch);
      const std::int64_t chunks = chunks_of(work);
      attend_chunk(work, 0, part_after(w, 0), scratch, scratch.total);
      for (std::int64_t c = 1; c < chunks; ++c) {
        attend_chunk(work, c, part_after(w, c), scratch, scratch.partial);
        merge(work, scratch.partial, scratch.total);
      }
      finish(work, scratch.total);
    });
  }

 private:
  /// Memory of a thread.
  struct Scratch {
    Partial partial, total;
    float* scores;                         ///< [M, 64] of a page; before that scaled queries
    float* keep;                           ///< [M], rescales the result of the pages before
    std::int64_t *first_seen, *last_seen;  ///< tokens that each row attends to
    std::int32_t *first, *last;            ///< those of a page
    RowStore q_rows, q, p_rows, p;
    std::uint16_t* panel;  ///< keys or values of 16 tokens in bf16
  };

  bool quantised() const { return args_.layout.type == PackedType::int8; }

  Scratch make_scratch() const {
    Arena& arena = cpu_.arena;
    const PackedShape q = args_.layout.keys(), p = args_.layout.values();
    return {Partial(arena, width_),
            Partial(arena, width_),
            arena.take<float>(max_tile_rows * std::max(page_tokens, args_.layout.key_dim)),
            arena.take<float>(max_tile_rows),
            arena.take<std::int64_t>(max_tile_rows),
            arena.take<std::int64_t>(max_tile_rows),
            arena.take<std::int32_t>(max_tile_rows),
            arena.take<std::int32_t>(max_tile_rows),
            RowStore(arena, q, max_tile_rows),
            RowStore(arena, q, max_tile_rows),
            RowStore(arena, p, max_tile_rows),
            RowStore(arena, p, max_tile_rows),
            arena.take<std::uint16_t>(panel_width *
                                      std::max(args_.layout.key_dim, args_.layout.value_dim))};
  }

  void list_work() {
    const int max_queries =
        quantised() ? cpu_.table.few_queries : max_rows(cpu_.table, args_.layout.keys());
    const auto tiles_of = [&](const NewTokens& t) {
      return Tiling(0, t.count * share_, max_queries);
    };
    std::int64_t all = 0;
    for (const NewTokens& tokens : sequences_) all += tiles_of(tokens).count * args_.layout.groups;
    work_ = cpu_.arena.take<TileWork>(all);
    for (const NewTokens& tokens : sequences_) {
      const Tiling tiling = tiles_of(tokens);
      for (std::int64_t g = 0; g < args_.layout.groups; ++g) {
        for (std::int64_t t = 0; t < tiling.count; ++t) {
          work_[count_] = {&tokens, g, tiling.start(t), tiling.size(t)};
          chunks_ = std::max(chunks_, chunks_of(work_[count_]));
          ++count_;
        }
      }
    }
  }

  void append_head(const NewTokens& tokens, std::int64_t group, const Scratch& scratch) const {
    if (quantised()) return append_codes(args_, tokens, group);
    const auto whole = [&](std::int64_t i, std::byte* page, std::int64_t token) {
      const KvLayout& layout = args_.layout;
      append_panel(tokens.k + i * args_.ldk + group * layout.key_dim,
                   tokens.v + i * args_.ldv + group * layout.value_dim, page, token, scratch);
    };
    if (args_.layout.type == PackedType::f32) {
      append(
          args_, tokens, group, [](float x) { return x; }, whole);
    } else {
      append(
          args_, tokens, group, [](float x) { return f32_to_bf16(x); }, whole);
    }
  }

  /// Appends keys k and values v of 16 tokens from `token` of the page on, which begins a panel.
  void append_panel(const float* k, const float* v, std::byte* page, std::int64_t token,
                    const Scratch& scratch) const {
    const KvLayout& layout = args_.layout;
    const auto rows = [&](const float* x, std::int64_t ld, std::int64_t columns) -> Plain {
      if (layout.type == PackedType::f32) return {x, ValueType::f32, ld};
      cpu_.table.convert({x, scratch.panel, ValueType::bf16, panel_width, columns, ld, columns});
      return {scratch.panel, ValueType::bf16, columns};
    };
    const PackedShape keys = layout.keys();
    pack_lane_range(cpu_.table, {layout.type, panel_width, layout.key_dim},
                    rows(k, args_.ldk, layout.key_dim), 0, panel_width, panel_width, 1,
                    page + token / panel_width * keys.panel_bytes());
    const PackedShape values = layout.values(), some{layout.type, layout.value_dim, panel_width};
    const Plain columns = transposed(rows(v, args_.ldv, layout.value_dim));
    std::byte* to_values = page + layout.values_at() + some.panel_bytes() * (token / panel_width);
    for (std::int64_t a = 0; a < layout.value_dim; a += panel_width) {
      pack_lane_range(cpu_.table, some, columns, a, layout.value_dim, panel_width, 1,
                      to_values + a / panel_width * values.panel_bytes());
    }
  }

  /// Row r of a tile attends to tokens [first, last).
  std::int64_t last_of(const TileWork& w, std::int64_t r) const {
    return w.tokens->past + (w.begin + r) / share_ + 1;
  }
  std::int64_t first_of(const TileWork& w, std::int64_t r) const {
    return args_.window > 0 ? std::max<std::int64_t>(0, last_of(w, r) - args_.window) : 0;
  }
  std::int64_t chunks_of(const TileWork& w) const {
    return (last_of(w, w.rows - 1) + chunk_tokens - 1) / chunk_tokens;
  }

  std::int64_t first_page(const TileWork& w, std::int64_t chunk) const {
    return std::max(chunk * chunk_tokens, first_of(w, 0)) / page_tokens;
  }

  const std::byte* part_of(const TileWork& w, std::int64_t page, std::int64_t begin) const {
    return w.tokens->pages[page] + w.group * args_.layout.group_bytes() + begin;
  }
  /// The part of a page that a chunk reads first.
  const std::byte* first_part(const TileWork& w, std::int64_t chunk) const {
    return part_of(w, first_page(w, chunk), 0);
  }
  /// The part of a page to prefetch after a chunk of work_[index].
  const std::byte* part_after(std::int64_t index, std::int64_t chunk) const {
    const TileWork& w = work_[index];
    if (chunk + 1 < chunks_of(w)) return first_part(w, chunk + 1);
    return index + 1 < count_ ? first_part(work_[index + 1], 0) : first_part(w, chunk);
  }
  Matrix keys_of(const TileWork& w, std::int64_t page) const {
    return {args_.layout.keys(), part_of(w, page, 0)};
  }
  Matrix values_of(const TileWork& w, std::int64_t page) const {
    return {args_.layout.values(), part_of(w, page, args_.layout.values_at())};
  }

  bool few(const TileWork& w) const { return w.rows <= cpu_.table.few_queries; }

  /// Attention to one chunk, page by page; `next` is the part to prefetch at its end.
  void attend_chunk(const TileWork& w, std::int64_t chunk, const std::byte* next,
                    const Scratch& scratch, const Partial& out) const {
    out.clear(w.rows, width_);
    const std::int64_t begin = first_page(w, chunk);
    const std::int64_t last = std::min((chunk + 1) * chunk_tokens, last_of(w, w.rows - 1));
    for (std::int64_t page = begin; page * page_tokens < last; ++page) {
      for (std::int64_t r = 0; r < w.rows; ++r) {
        const auto within = [&](std::int64_t token) {
          return static_cast<std::int32_t>(
              std::clamp<std::int64_t>(token - page * page_tokens, 0, page_tokens));
        };
        scratch.first[r] = within(scratch.first_seen[r]);
        scratch.last[r] = within(scratch.last_seen[r]);
      }
      const bool more = (page + 1) * page_tokens < last;
      if (few(w)) {
        const std::byte* scales = part_of(w, page, args_.layout.value_scales_at());
        cpu_.table.attend_page({args_.layout.keys(), args_.layout.values(), part_of(w, page, 0),
                                reinterpret_cast<const std::uint16_t*>(scales),
                                more ? part_of(w, page + 1, 0) : next, scratch.q_rows.rows(0),
                                static_cast<int>(w.rows), scratch.first, scratch.last, out.max,
                                out.sum, out.y, width_});
        continue;
      }
      score_keys(w, page, scratch);
      cpu_.table.softmax({.scores = scratch.scores,
                          .first = scratch.first,
                          .last = scratch.last,
                          .max = out.max,
                          .sum = out.sum,
                          .m = w.rows,
                          .columns = page_tokens,
                          .ld = page_tokens,
                          .keep = scratch.keep});
      mix_values(w, page, scratch, out);
    }
  }

  /// Offset of row r of a tile in x [tokens, heads, dim] of row stride `ld`.
  std::int64_t place_of(const TileWork& w, std::int64_t r, std::int64_t ld,
                        std::int64_t dim) const {
    const std::int64_t query = (w.begin + r) / share_, head = (w.begin + r) % share_;
    return query * ld + (w.group * share_ + head) * dim;
  }
  const float* query_of(const TileWork& w, std::int64_t r) const {
    return w.tokens->q + place_of(w, r, args_.ldq, args_.layout.key_dim);
  }
  float* result_of(const TileWork& w, std::int64_t r) const {
    return w.tokens->y + place_of(w, r, args_.ldy, args_.layout.value_dim);
  }

  /// Scales and packs the queries of a tile, and notes what they attend to.
  void load_queries(const TileWork& w, const Scratch& scratch) const {
    const std::int64_t dim = args_.layout.key_dim;
    for (std::int64_t r = 0; r < w.rows; ++r) {
      cpu_.table.convert({query_of(w, r), scratch.scores + r * dim, ValueType::f32, 1, dim, dim,
                          dim, args_.scale});
      scratch.first_seen[r] = first_of(w, r);
      scratch.last_seen[r] = last_of(w, r);
    }
    const PackedShape& shape = scratch.q.shape;
    const Prepared rows = scratch.q_rows.rows(0);
    cpu_.table.prepare(shape, scratch.scores, dim, w.rows, rows);
    if (!few(w)) cpu_.table.interleave(shape, rows, nullptr, scratch.q.tile(0, w.rows));
  }

  void score_keys(const TileWork& w, std::int64_t page, const Scratch& scratch) const {
    const TileRows q = scratch.q.tile(0, w.rows);
    const std::int64_t pairs = args_.layout.keys().panels() / 2;
    for (std::int64_t i = 0; i < pairs; ++i) {
      run_tile(cpu_.table, panel_pair(keys_of(w, page), i), q,
               columns_at(scratch.scores + i * pair_width, page_tokens));
    }
  }

  void mix_values(const TileWork& w, std::int64_t page, const Scratch& scratch,
                  const Partial& out) const {
    const TileRows shares = scratch.p.tile(0, w.rows);
    make_tile(cpu_.table, scratch.p.shape, scratch.scores, page_tokens, scratch.p_rows.rows(0),
              shares);
    const std::int64_t pairs = args_.layout.values().panels() / 2;
    for (std::int64_t i = 0; i < pairs; ++i) {
      TileOutput to = columns_at(out.y + i * pair_width, width_);
      to.keep = scratch.keep;
      to.add = true;
      run_tile(cpu_.table, panel_pair(values_of(w, page), i), shares, to);
    }
  }

  /// Merges the result of a chunk into that of the chunks before.
  void merge(const TileWork& w, const Partial& part, const Partial& total) const {
    cpu_.table.merge_softmax(
        {part.y, part.max, part.sum, total.y, total.max, total.sum, w.rows, width_});
  }

  void finish(const TileWork& w, const Partial& total) const {
    const std::int64_t dim = args_.layout.value_dim;
    for (std::int64_t r = 0; r < w.rows; ++r) {
      cpu_.table.convert({total.y + r * width_, result_of(w, r), ValueType::f32, 1, dim, dim, dim,
                          1 / total.sum[r]});
    }
  }

  /// Few tiles with long contexts: chunks are the pieces of work.
  void run_by_chunks() {
    const std::int64_t pieces = count_ * chunks_;
    auto* parts = cpu_.arena.take<Partial>(pieces);
    for (std::int64_t i = 0; i < pieces; ++i) parts[i] = Partial(cpu_.arena, width_);
    cpu_.executor.run(pieces, [&](std::int64_t i, int thread) {
      const std::int64_t index = i / chunks_, chunk = i % chunks_;
      const TileWork& w = work_[index];
      if (chunk >= chunks_of(w)) return;
      load_queries(w, scratch_[thread]);
      attend_chunk(w, chunk, part_after(index, chunk), scratch_[thread], parts[i]);
    });
    for (std::int64_t i = 0; i < count_; ++i) {
      const Partial& total = parts[i * chunks_];
      for (std::int64_t c = 1; c < chunks_of(work_[i]); ++c) {
        merge(work_[i], parts[i * chunks_ + c], total);
      }
      finish(work_[i], total);
    }
  }

  const CpuContext& cpu_;
  const Attention& args_;
  std::span<const NewTokens> sequences_;
  std::int64_t share_;  ///< query heads that read the same keys: H / G
  std::int64_t width_;  ///< value_dim padded to panels
  std::int64_t chunks_ = 1, count_ = 0;
  TileWork* work_ = nullptr;
  Scratch* scratch_ = nullptr;
};

}  // namespace

void attend(const CpuContext& cpu, const Attention& args, std::span<const NewTokens> sequences) {
  const Arena::Scope scope(cpu.arena);
  AttentionRun(cpu, args, sequences).run();
}

}  // namespace moebius::kernels
