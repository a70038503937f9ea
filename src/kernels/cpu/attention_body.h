// Body of attend_page, for table_body.h, with the vectors of panel_body.h and the softmax of
// elementwise_body.h; the instruction set has defined FEW_QUERIES, of so many rows the sums of one
// panel stay in registers.

/// A word of 4 bytes of x with 16 of w.
struct F32Word {
  static F16 add(F16 sum, const unsigned char* w, const unsigned char* x) {
    float xi;
    __builtin_memcpy(&xi, x, 4);
    return fma(load_f32((const float*)w), splat_f32(xi), sum);
  }
};
struct Bf16Word {
  static F16 add(F16 sum, const unsigned char* w, const unsigned char* x) {
    return dot_bf16(sum, load_bytes(w), splat_bytes(x));
  }
};

/// M rows of x, `ldx` bytes apart, times one panel, each line of which asks for one of `ahead`.
template <class Word, int M>
[[gnu::always_inline]] static inline void multiply_panel(const unsigned char* w, long lines,
                                                         const unsigned char* x, long ldx,
                                                         const unsigned char* ahead,
                                                         F16 (&sums)[M]) {
  MOEBIUS_UNROLL
  for (int i = 0; i < M; ++i) sums[i] = splat_f32(0);
  for (long s = 0; s < lines; ++s) {
    __builtin_prefetch(ahead + 64 * s, 0, 2);
    MOEBIUS_UNROLL
    for (int i = 0; i < M; ++i) sums[i] = Word::add(sums[i], w + 64 * s, x + i * ldx + 4 * s);
  }
}

/// Panel by panel, so that memory is read in order: the hardware foresees more of that.
template <class Word, int M>
static void attend_page_of(const AttendPage& a) {
  constexpr long distance = 8192;
  const PackedShape keys = a.keys, values = a.values;
  const long key_bytes = keys.panel_bytes(), value_bytes = values.panel_bytes();
  const long part_bytes = keys.bytes() + values.bytes();
  const auto* part = static_cast<const unsigned char*>(a.part);
  const auto* next = static_cast<const unsigned char*>(a.next);
  const auto ahead_of = [&](const unsigned char* panel) {
    const long at = panel - part + distance;
    return at < part_bytes ? part + at : next + (at - part_bytes);
  };
  alignas(64) float scores[M * page_tokens];
  const unsigned char* w = part;
  for (long c = 0; c < page_tokens; c += panel_width, w += key_bytes) {
    F16 sums[M];
    multiply_panel<Word, M>(w, key_bytes / 64, static_cast<const unsigned char*>(a.q), a.ldq,
                            ahead_of(w), sums);
    MOEBIUS_UNROLL
    for (int i = 0; i < M; ++i) store(scores + i * page_tokens + c, sums[i]);
  }
  alignas(64) float keep[max_tile_rows];
  softmax({scores, a.first, a.last, a.max, a.sum, M, page_tokens, page_tokens, 1.0f, keep});
  alignas(64) unsigned short halves[M * page_tokens];
  const unsigned char* shares = (const unsigned char*)scores;
  if (keys.type == PackedType::bf16) {
    prepare_bf16(scores, M * page_tokens, halves);
    shares = (const unsigned char*)halves;
  }
  const long ldx = page_tokens * (keys.type == PackedType::bf16 ? 2 : 4);
  float* y = a.y;
  for (long p = 0; p < values.panels(); ++p, w += value_bytes, y += panel_width) {
    F16 sums[M];
    multiply_panel<Word, M>(w, value_bytes / 64, shares, ldx, ahead_of(w), sums);
    MOEBIUS_UNROLL
    for (int i = 0; i < M; ++i) {
      float* row = y + i * a.ldy;
      // As tiles do it.
      store(row, fma(sums[i], splat_f32(1), mul(load_f32(row), splat_f32(keep[i]))));
    }
  }
}

template <class Word, int... I>
static void attend_page_rows(const AttendPage& a, LaneNumbers<I...>) {
  using OfRows = void (*)(const AttendPage& a);
  static constexpr OfRows of_rows[] = {attend_page_of<Word, I + 1>...};
  of_rows[a.m - 1](a);
}

static void attend_page(const AttendPage& a) {
  const CountLanes<FEW_QUERIES>::Type rows{};
  if (a.keys.type == PackedType::f32) return attend_page_rows<F32Word>(a, rows);
  attend_page_rows<Bf16Word>(a, rows);
}
