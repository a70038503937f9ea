// Body of attend_page, for table_body.h, with the vectors of panel_body.h and the softmax of
// elementwise_body.h; the instruction set has defined FEW_QUERIES, the number of rows whose
// accumulators for one panel fit in registers.

/// Multiplies a word of 4 bytes of x with 16 words of w.
struct F32Word {
  [[gnu::always_inline]] static F16 add(F16 sum, const unsigned char* w, const unsigned char* x) {
    float xi;
    __builtin_memcpy(&xi, x, 4);
    return fma(load_f32((const float*)w), splat_f32(xi), sum);
  }
};
struct Bf16Word {
  [[gnu::always_inline]] static F16 add(F16 sum, const unsigned char* w, const unsigned char* x) {
    return dot_bf16(sum, load_bytes(w), splat_bytes(x));
  }
};

/// Pages of f32 or bf16.
template <class Word>
struct FloatPage {
  static constexpr int rows_of_probability = 1;

  /// M rows times one panel; for each of its cache lines one of `prefetched` is prefetched.
  template <int M>
  [[gnu::always_inline]] static void multiply(const PackedShape& shape, const unsigned char* w,
                                              const Prepared& rows, const unsigned char* prefetched,
                                              F16 (&sums)[M]) {
    const long lines = shape.panel_bytes() / 64;
    const auto* x = static_cast<const unsigned char*>(rows.x);
    MOEBIUS_UNROLL
    for (int i = 0; i < M; ++i) sums[i] = splat_f32(0);
    for (long s = 0; s < lines; ++s) {
      __builtin_prefetch(prefetched + 64 * s, 0, 2);
      MOEBIUS_UNROLL
      for (int i = 0; i < M; ++i) sums[i] = Word::add(sums[i], w + 64 * s, x + 4 * (i * lines + s));
    }
  }

  [[gnu::always_inline]] static void prepare_probabilities(const AttendPage& a,
                                                           float* probabilities,
                                                           const Prepared& out) {
    prepare(a.values, probabilities, page_tokens, a.m, out);
  }
};

/// Pages of int8.
struct CodePage {
  static constexpr int rows_of_probability = 2;

  template <int M>
  [[gnu::always_inline]] static void multiply(const PackedShape& shape, const unsigned char* w,
                                              const Prepared& rows, const unsigned char* prefetched,
                                              F16 (&sums)[M]) {
    const long padded = shape.padded_k(), groups = shape.groups();
    const auto* x = static_cast<const signed char*>(rows.x);
    MOEBIUS_UNROLL
    for (int i = 0; i < M; ++i) sums[i] = splat_f32(0);
    for (long g = 0; g < groups; ++g) {
      const long begin = g * shape.group, left = padded - begin;
      const long end = begin + (left < shape.group ? left : shape.group);
      const long scales = shape.scales_at(g), codes = shape.scales_before(begin);
      __builtin_prefetch(prefetched + scales, 0, 2);
      I16 sum[M];
      MOEBIUS_UNROLL
      for (int i = 0; i < M; ++i) sum[i] = splat_i32(-128 * rows.sums[i * groups + g]);
      for (long k = begin; k < end; k += 4) {
        const long line = codes + k * panel_width;
        __builtin_prefetch(prefetched + line, 0, 2);
        const B64 four = load_bytes(w + line);
        MOEBIUS_UNROLL
        for (int i = 0; i < M; ++i) sum[i] = dot_u8(sum[i], four, splat_bytes(x + i * padded + k));
      }
      const F16 scale = load_bf16((const unsigned short*)(w + scales));
      MOEBIUS_UNROLL
      for (int i = 0; i < M; ++i) {
        const F16 together = mul(scale, splat_f32(rows.scales[i * groups + g]));
        sums[i] = fma(to_float(sum[i]), together, sums[i]);
      }
    }
  }

  /// Rows [0, M) are the rounded probabilities, rows [M, 2 M) their rounded rounding errors.
  [[gnu::always_inline]] static void prepare_probabilities(const AttendPage& a,
                                                           float* probabilities,
                                                           const Prepared& out) {
    const long count = a.m * page_tokens;
    for (long i = 0; i < count; i += LANES) {
      const VecF probability = load_values(probabilities + i), zero{};
      const VecF scaled = probability * LoadBf16::load(a.scales + i % page_tokens);
      store_values(probabilities + i, probability == zero ? zero : scaled);
    }
    prepare(a.values, probabilities, page_tokens, a.m, out);
    auto* codes = static_cast<signed char*>(out.x);
    for (long i = 0; i < count; i += LANES) {
      using Codes __attribute__((vector_size(LANES))) = signed char;
      const VecF nearest = __builtin_convertvector(load_unaligned<LANES, Codes>(codes + i), VecF);
      store_values(probabilities + i,
                   load_values(probabilities + i) - nearest * out.scales[i / page_tokens]);
    }
    prepare(a.values, probabilities, page_tokens, a.m,
            {codes + count, out.scales + a.m, out.sums + a.m});
  }
};

/// Panel by panel, so that memory is read sequentially, which the hardware prefetches.
template <class Page, int M>
static void attend_page_of(const AttendPage& a) {
  constexpr long distance = 8192;
  constexpr int rows_of_probability = Page::rows_of_probability;
  const PackedShape keys = a.keys, values = a.values;
  const long key_bytes = keys.panel_bytes(), value_bytes = values.panel_bytes();
  const long part_bytes = keys.bytes() + values.bytes();
  const auto* part = static_cast<const unsigned char*>(a.part);
  const auto* next = static_cast<const unsigned char*>(a.next);
  const auto prefetch_address = [&](const unsigned char* panel) {
    const long at = panel - part + distance;
    return at < part_bytes ? part + at : next + (at - part_bytes);
  };
  alignas(64) float scores[M * page_tokens];
  const unsigned char* w = part;
  for (long c = 0; c < page_tokens; c += panel_width, w += key_bytes) {
    F16 sums[M];
    Page::multiply(keys, w, a.q, prefetch_address(w), sums);
    MOEBIUS_UNROLL
    for (int i = 0; i < M; ++i) store(scores + i * page_tokens + c, sums[i]);
  }
  alignas(64) float keep[max_tile_rows];
  softmax({scores, a.first, a.last, a.max, a.sum, M, page_tokens, page_tokens, 1.0f, keep});
  alignas(64) float probability_rows[rows_of_probability * M * page_tokens];
  float probability_scales[rows_of_probability * M];
  std::int32_t probability_sums[rows_of_probability * M];
  const Prepared probabilities{probability_rows, probability_scales, probability_sums};
  Page::prepare_probabilities(a, scores, probabilities);
  float* y = a.y;
  for (long p = 0; p < values.panels(); ++p, w += value_bytes, y += panel_width) {
    F16 sums[rows_of_probability * M];
    Page::multiply(values, w, probabilities, prefetch_address(w), sums);
    MOEBIUS_UNROLL
    for (int i = 0; i < M; ++i) {
      float* row = y + i * a.ldy;
      F16 added = sums[i];
      MOEBIUS_UNROLL
      for (int more = i + M; more < rows_of_probability * M; more += M) {
        added = fma(sums[more], splat_f32(1), added);
      }
      // Rounded as in `store_tile`.
      store(row, fma(added, splat_f32(1), mul(load_f32(row), splat_f32(keep[i]))));
    }
  }
}

template <class Page, int... I>
static void attend_page_rows(const AttendPage& a, LaneNumbers<I...>) {
  using OfRows = void (*)(const AttendPage& a);
  static constexpr OfRows of_rows[] = {attend_page_of<Page, I + 1>...};
  of_rows[a.m - 1](a);
}

static void attend_page(const AttendPage& a) {
  const CountLanes<FEW_QUERIES>::Type rows{};
  if (a.keys.type == PackedType::f32) return attend_page_rows<FloatPage<F32Word>>(a, rows);
  if (a.keys.type == PackedType::bf16) return attend_page_rows<FloatPage<Bf16Word>>(a, rows);
  attend_page_rows<CodePage>(a, rows);
}
