// Body of the kernels over packed matrices, for table_body.h. The instruction set has defined
//   F16, I16   16 floats, 16 int32      B64   64 bytes of weights, or 4 bytes 16 times
//   load_f32, load_bf16, load_bytes, splat_f32, splat_i32, splat_bytes, store
//   low_nibbles, high_nibbles             of each byte
//   store_non_temporal                  stores 32 bytes with a non-temporal store
//   narrow_bf16                         of LANES floats, if it has an instruction for that
//   fma(a, b, c) = a b + c, mul, to_float
//   dot_bf16(acc, w, x), dot_u8(acc, w, x), dot_u4(acc, w, x)   a step of 16 dot products: pairs of
//                                       bf16; four unsigned bytes, or bytes below 16, with signed
//   TILE_F32, TILE_BF16, TILE_INT8, TILE_INT4   rows of the largest tile
//
// A tile keeps its accumulators in registers and loops over K once; each load of w serves M rows.

/// Read positions in the panels of a tile. Tiles of many rows read both panels side by side. Tiles
/// of few rows are bound by memory bandwidth and read one panel after the other: the hardware
/// prefetcher is fastest on one sequential stream per thread, and software prefetch beside it slows
/// it down.
template <int M>
struct PanelReader {
  static constexpr int panels = M <= memory_bound_rows ? 1 : 2;
  const unsigned char *at[panels], *next[panels];

  PanelReader(const Tile& t, int first) {
    MOEBIUS_UNROLL
    for (int p = 0; p < panels; ++p) {
      at[p] = static_cast<const unsigned char*>(t.w[first + p]);
      const void* later = t.next[first + p];
      next[p] = later != nullptr ? static_cast<const unsigned char*>(later) : at[p];
    }
  }
  /// Prefetches a cache line of what is read later.
  void prefetch() {
    MOEBIUS_UNROLL
    for (int p = 0; p < panels; ++p) {
      __builtin_prefetch(next[p], 0, 2);
      next[p] += 64;
    }
  }
};

template <int M, int P>
static void clear(F16 (&y)[M][P]) {
  MOEBIUS_UNROLL
  for (int i = 0; i < M; ++i) {
    MOEBIUS_UNROLL
    for (int p = 0; p < P; ++p) y[i][p] = splat_f32(0);
  }
}

/// Stores 16 sums in the type of Store.
template <class Store>
[[gnu::always_inline]] static inline void store_sums(typename Store::Type* y, F16 sums,
                                                     bool non_temporal) {
  VecF values[16 / LANES];
  __builtin_memcpy(values, &sums, sizeof sums);
  alignas(64) typename Store::Vec stored[16 / LANES];
  MOEBIUS_UNROLL
  for (int i = 0; i < 16 / LANES; ++i) stored[i] = Store::narrow(values[i]);
  if (!non_temporal) {
    __builtin_memcpy(y, stored, sizeof stored);
    return;
  }
  constexpr int at_once = 32 / sizeof *y;
  MOEBIUS_UNROLL
  for (int i = 0; i < 16; i += at_once) {
    store_non_temporal(y + i, (const typename Store::Type*)stored + i);
  }
}

/// Stores whole panels without bias, scales or ids.
template <class Store, int M>
[[gnu::always_inline]] static inline void store_plain(const TileOutput& out,
                                                      const F16 (&sums)[M][2]) {
  auto* y = static_cast<typename Store::Type*>(out.y);
  const bool lines = ((std::uintptr_t)y | (std::uintptr_t)out.ldy * sizeof *y) % 64 == 0;
  const bool non_temporal = out.non_temporal && lines;
  MOEBIUS_UNROLL
  for (int i = 0; i < M; ++i) {
    store_sums<Store>(y + i * out.ldy, sums[i][0], non_temporal);
    store_sums<Store>(y + i * out.ldy + 16, sums[i][1], non_temporal);
  }
}

/// Stores sums [m, 32] in the general case.
static void store_rows(const TileOutput& out, const float* sums, long m);

template <int M>
[[gnu::always_inline]] static inline void store_tile(const TileOutput& out,
                                                     const F16 (&sums)[M][2]) {
  const bool whole = out.columns[0] + out.columns[1] == 2 * panel_width && out.bias[0] == nullptr &&
                     out.bias[1] == nullptr;
  if (whole && out.add) {
    auto* y = static_cast<float*>(out.y);
    MOEBIUS_UNROLL
    for (int i = 0; i < M; ++i) {
      float* row = y + (out.ids != nullptr ? out.ids[i] : i) * out.ldy;
      const F16 scale = splat_f32(out.scales != nullptr ? out.scales[i] : 1);
      const F16 keep = splat_f32(out.keep != nullptr ? out.keep[i] : 1);
      store(row, fma(sums[i][0], scale, mul(load_f32(row), keep)));
      store(row + 16, fma(sums[i][1], scale, mul(load_f32(row + 16), keep)));
    }
  } else if (whole && out.ids == nullptr && out.scales == nullptr) {
    if (out.type == ValueType::f32) return store_plain<StoreF32>(out, sums);
    store_plain<StoreBf16>(out, sums);
  } else {
    alignas(64) float rows[M * 2 * panel_width];
    MOEBIUS_UNROLL
    for (int i = 0; i < M; ++i) {
      store(rows + 32 * i, sums[i][0]);
      store(rows + 32 * i + 16, sums[i][1]);
    }
    store_rows(out, rows, M);
  }
}

/// Prefetches the rows that the sums of many rows will be added to, shortly before the end of K, so
/// that weights do not evict them again.
template <int M>
static void prefetch_output(const TileOutput& out) {
  if (M <= memory_bound_rows || !out.add) return;
  const auto* y = static_cast<const float*>(out.y);
  MOEBIUS_UNROLL
  for (int i = 0; i < M; ++i) {
    const float* row = y + (out.ids != nullptr ? out.ids[i] : i) * out.ldy;
    __builtin_prefetch(row, 1);
    __builtin_prefetch(row + 16, 1);
  }
}

/// Calls multiply(reader, sums) for the panels of a tile, both at once or one by one, and stores
/// the sums.
template <int M, class Multiply>
[[gnu::always_inline]] static inline void for_panels(const Tile& t, Multiply multiply) {
  constexpr int panels = PanelReader<M>::panels;
  F16 y[M][2];
  MOEBIUS_UNROLL
  for (int first = 0; first < 2; first += panels) {
    F16 sums[M][panels];
    multiply(PanelReader<M>(t, first), sums);
    MOEBIUS_UNROLL
    for (int i = 0; i < M; ++i) {
      MOEBIUS_UNROLL
      for (int p = 0; p < panels; ++p) y[i][first + p] = sums[i][p];
    }
  }
  store_tile<M>(t.out, y);
}

template <int M>
static void tile_f32(const PackedShape& s, const Tile& t) {
  for_panels<M>(
      t, [&](PanelReader<M> w, auto& sums) __attribute__((always_inline)) {
        clear(sums);
        const auto* x = static_cast<const float*>(t.rows.x);
        for (long k = 0; k < s.k; ++k, x += M) {
          if (s.k - k == 32) prefetch_output<M>(t.out);
          F16 wk[PanelReader<M>::panels];
          MOEBIUS_UNROLL
          for (int p = 0; p < PanelReader<M>::panels; ++p) {
            wk[p] = load_f32(reinterpret_cast<const float*>(w.at[p]));
            w.at[p] += 64;
          }
          MOEBIUS_UNROLL
          for (int i = 0; i < M; ++i) {
            const F16 xi = splat_f32(x[i]);
            MOEBIUS_UNROLL
            for (int p = 0; p < PanelReader<M>::panels; ++p)
              sums[i][p] = fma(wk[p], xi, sums[i][p]);
          }
        }
      });
}

/// A step of the dot products of M rows, 4 bytes of each, with P panels.
template <int M, int P, class Sum, class Dot>
static void add_products(Sum (&sum)[M][P], const B64 (&w)[P], const void* x, Dot dot) {
  MOEBIUS_UNROLL
  for (int i = 0; i < M; ++i) {
    const B64 xi = splat_bytes(static_cast<const unsigned char*>(x) + 4 * i);
    MOEBIUS_UNROLL
    for (int p = 0; p < P; ++p) sum[i][p] = dot(sum[i][p], w[p], xi);
  }
}

/// The next 64 bytes of each panel.
template <int M>
static void load_step(PanelReader<M>& w, B64 (&to)[PanelReader<M>::panels]) {
  MOEBIUS_UNROLL
  for (int p = 0; p < PanelReader<M>::panels; ++p) {
    to[p] = load_bytes(w.at[p]);
    w.at[p] += 64;
  }
}

template <int M>
static void tile_bf16(const PackedShape& s, const Tile& t) {
  const auto dot = [](F16 sum, B64 w, B64 x) { return dot_bf16(sum, w, x); };
  for_panels<M>(
      t, [&](PanelReader<M> w, auto& sums) __attribute__((always_inline)) {
        clear(sums);
        const auto* x = static_cast<const unsigned short*>(t.rows.x);
        const auto step = [&] {
          B64 wk[PanelReader<M>::panels];
          load_step(w, wk);
          add_products(sums, wk, x, dot);
          x += 2 * M;
        };
        long left = s.panel_bytes() / 64;
        if constexpr (PanelReader<M>::panels == 1) {
          for (; left >= 4; left -= 4) {
            MOEBIUS_UNROLL
            for (int i = 0; i < 4; ++i) step();
          }
        }
        for (; left > 0; --left) {
          if (PanelReader<M>::panels > 1 && left % 8 == 0) {
            w.prefetch();
            if (left == 32) prefetch_output<M>(t.out);
          }
          step();
        }
      });
}

/// One step over 64 bytes of each panel: four columns of int8, or eight of int4. A scale of x
/// covers `x_groups` groups of w.
struct Int8Step {
  static constexpr int columns = 4, x_groups = 1;
  template <int M, int P>
  static void run(I16 (&sum)[M][P], const signed char* x, const B64 (&w)[P]) {
    add_products(sum, w, x, [](I16 acc, B64 wp, B64 xi) { return dot_u8(acc, wp, xi); });
  }
};

struct Int4Step {
  static constexpr int columns = 8, x_groups = 4;
  template <int M, int P>
  static void run(I16 (&sum)[M][P], const signed char* x, const B64 (&w)[P]) {
    const auto dot = [](I16 acc, B64 wp, B64 xi) { return dot_u4(acc, wp, xi); };
    B64 low[P], high[P];
    MOEBIUS_UNROLL
    for (int p = 0; p < P; ++p) {
      low[p] = low_nibbles(w[p]);
      high[p] = high_nibbles(w[p]);
    }
    add_products(sum, low, x, dot);
    add_products(sum, high, x + 4 * M, dot);
  }
};

/// The products of group g, of G columns, or `columns` if G is 0: a constant G unrolls the loop.
/// Calls add(row, g, sums, scales) for each row.
template <class Step, int M, int G, class Add>
[[gnu::always_inline]] static inline void add_group(
    const Tile& t, long g, long columns,
    const unsigned short* const (&of_group)[PanelReader<M>::panels], const signed char*& x,
    PanelReader<M>& w, Add add) {
  constexpr int panels = PanelReader<M>::panels;
  I16 sum[M][panels];
  MOEBIUS_UNROLL
  for (int i = 0; i < M; ++i) {
    MOEBIUS_UNROLL
    for (int p = 0; p < panels; ++p) sum[i][p] = splat_i32(t.rows.offsets[g * M + i]);
  }
  const long count = (G > 0 ? G : columns) / Step::columns;
  MOEBIUS_UNROLL
  for (long step = 0; step < count; ++step) {
    if (panels > 1 && G > 0 && step % 8 == 0) w.prefetch();
    B64 wk[panels];
    load_step(w, wk);
    Step::run(sum, x, wk);
    x += Step::columns * M;
  }
  F16 scales[panels];
  MOEBIUS_UNROLL
  for (int p = 0; p < panels; ++p) scales[p] = load_bf16(of_group[p]);
  MOEBIUS_UNROLL
  for (int i = 0; i < M; ++i) {
    F16 sums[panels];
    MOEBIUS_UNROLL
    for (int p = 0; p < panels; ++p) sums[p] = to_float(sum[i][p]);
    add(i, g, sums, scales);
  }
}

/// Columns [begin, end), group by group; g counts up. The scales of two groups precede them.
template <class Step, int M, int G, class Add>
[[gnu::always_inline]] static inline void add_columns(const PackedShape& s, const Tile& t, long& g,
                                                      long begin, long end, const signed char*& x,
                                                      PanelReader<M>& w, Add add) {
  constexpr int panels = PanelReader<M>::panels;
  const long group = G > 0 ? G : s.group;
  const unsigned short* scales[panels];
  const auto take_scales = [&] {
    MOEBIUS_UNROLL
    for (int p = 0; p < panels; ++p) {
      scales[p] = reinterpret_cast<const unsigned short*>(w.at[p]);
      w.at[p] += 64;
    }
  };
  const auto next_scales = [&] {
    MOEBIUS_UNROLL
    for (int p = 0; p < panels; ++p) scales[p] += panel_width;
  };
  for (; begin + 2 * group <= end; begin += 2 * group) {
    if (s.padded_k() - begin == 4 * group) prefetch_output<M>(t.out);
    take_scales();
    add_group<Step, M, G>(t, g++, group, scales, x, w, add);
    next_scales();
    add_group<Step, M, G>(t, g++, group, scales, x, w, add);
  }
  if (begin == end) return;
  take_scales();
  for (; begin < end; begin += group, next_scales()) {
    add_group<Step, M, 0>(t, g++, end - begin < group ? end - begin : group, scales, x, w, add);
  }
}

/// For types whose x groups are the groups of w.
template <class Step, int M, int G>
static void tile_groups(const PackedShape& s, const Tile& t) {
  for_panels<M>(
      t, [&](PanelReader<M> w, auto& y) __attribute__((always_inline)) {
        constexpr int panels = PanelReader<M>::panels;
        clear(y);
        const auto* x = static_cast<const signed char*>(t.rows.x);
        long g = 0;
        const auto add = [&](int i, long group, const F16(&sums)[panels],
                             const F16(&scales)[panels]) {
          const F16 xi = splat_f32(t.rows.scales[group * M + i]);
          MOEBIUS_UNROLL
          for (int p = 0; p < panels; ++p) y[i][p] = fma(sums[p], mul(scales[p], xi), y[i][p]);
        };
        add_columns<Step, M, G>(s, t, g, 0, s.padded_k(), x, w, add);
      });
}

/// For types whose x groups are several groups of w: the partial sums of an x group stay in
/// registers, the accumulators in memory.
template <class Step, int M, int G>
static void tile_grouped_groups(const PackedShape& s, const Tile& t) {
  for_panels<M>(
      t, [&](PanelReader<M> w, auto& part) __attribute__((always_inline)) {
        constexpr int panels = PanelReader<M>::panels;
        alignas(64) float y[M][panels][panel_width] = {};
        const auto* x = static_cast<const signed char*>(t.rows.x);
        const float* x_scales = t.rows.scales;
        const long padded = s.padded_k(), together = Step::x_groups * (G > 0 ? G : s.group);
        const auto add = [&](int i, long, const F16(&sums)[panels], const F16(&scales)[panels]) {
          MOEBIUS_UNROLL
          for (int p = 0; p < panels; ++p) part[i][p] = fma(sums[p], scales[p], part[i][p]);
        };
        long g = 0;
        for (long k = 0; k < padded; k += together, x_scales += M) {
          clear(part);
          add_columns<Step, M, G>(s, t, g, k, k + together < padded ? k + together : padded, x, w,
                                  add);
          MOEBIUS_UNROLL
          for (int i = 0; i < M; ++i) {
            const F16 xi = splat_f32(x_scales[i]);
            MOEBIUS_UNROLL
            for (int p = 0; p < panels; ++p) {
              store(y[i][p], fma(part[i][p], xi, load_f32(y[i][p])));
            }
          }
        }
        MOEBIUS_UNROLL
        for (int i = 0; i < M; ++i) {
          MOEBIUS_UNROLL
          for (int p = 0; p < panels; ++p) part[i][p] = load_f32(y[i][p]);
        }
      });
}

template <class Step, int M, int G>
static void tile_of_groups(const PackedShape& s, const Tile& t) {
  if constexpr (Step::x_groups > 1) {
    tile_grouped_groups<Step, M, G>(s, t);
  } else {
    tile_groups<Step, M, G>(s, t);
  }
}

template <class Step, int M>
static void tile_int(const PackedShape& s, const Tile& t) {
  if (s.group == 32) return tile_of_groups<Step, M, 32>(s, t);
  if (s.group == 64) return tile_of_groups<Step, M, 64>(s, t);
  tile_of_groups<Step, M, 0>(s, t);
}

using TileOf = void (*)(const PackedShape& s, const Tile& t);
template <int... I>
static void float_tile(const PackedShape& s, const Tile& t, LaneNumbers<I...>) {
  static constexpr TileOf of_f32[] = {tile_f32<I + 1>...};
  of_f32[t.rows.m - 1](s, t);
}
template <int... I>
static void bf16_tile(const PackedShape& s, const Tile& t, LaneNumbers<I...>) {
  static constexpr TileOf of_bf16[] = {tile_bf16<I + 1>...};
  of_bf16[t.rows.m - 1](s, t);
}
template <class Step, int... I>
static void int_tile(const PackedShape& s, const Tile& t, LaneNumbers<I...>) {
  static constexpr TileOf of_int[] = {tile_int<Step, I + 1>...};
  of_int[t.rows.m - 1](s, t);
}

static void tile(const PackedShape& s, const Tile& t) {
  switch (s.type) {
    case PackedType::f32:
      return float_tile(s, t, CountLanes<TILE_F32>::Type{});
    case PackedType::bf16:
      return bf16_tile(s, t, CountLanes<TILE_BF16>::Type{});
    case PackedType::int8:
      return int_tile<Int8Step>(s, t, CountLanes<TILE_INT8>::Type{});
    case PackedType::int4:
      return int_tile<Int4Step>(s, t, CountLanes<TILE_INT4>::Type{});
  }
}

static unsigned bits_of(float value) {
  unsigned bits;
  __builtin_memcpy(&bits, &value, 4);
  return bits;
}

static void prepare_bf16(const float* x, long k, unsigned short* out) {
  for (long i = 0; i < k; i += LANES) {
    const long left = k - i < LANES ? k - i : LANES;
    VecF values{};
    __builtin_memcpy(&values, x + i, (unsigned long)left * 4);
    const VecH halves = narrow_bf16(values);
    __builtin_memcpy(out + i, &halves, (unsigned long)left * 2);
  }
  if (k % 2 != 0) out[k] = 0;
}

/// Quantises to the nearest of -127 ... 127 times the scale, which is returned; ties to even.
static float prepare_group(const float* x, long k, signed char* out) {
  unsigned largest = 0;
  for (long i = 0; i < k; ++i) {
    const unsigned magnitude = bits_of(x[i]) & 0x7FFFFFFF;
    largest = magnitude > largest ? magnitude : largest;
  }
  float max;
  __builtin_memcpy(&max, &largest, 4);
  const bool finite = largest < 0x7F800000, tiny = max < 1e-30f;
  const float inverse = finite && !tiny ? 127 / max : 0;
  for (long i = 0; i < k; ++i) {
    const float xi = finite ? x[i] : 0;
    out[i] = (signed char)(bits_of(__builtin_fmaf(xi, inverse, 12582912.0f)) - 0x4B400000);
  }
  return finite ? max / 127 : __builtin_nanf("");
}

static std::int32_t sum_of_codes(const signed char* codes, long count) {
  std::int32_t sum = 0;
  for (long i = 0; i < count; ++i) sum += codes[i];
  return sum;
}

/// Reduces the lanes of rows[i] to lane i of the result.
template <int H = 1, class Op>
static VecU across(VecU (&rows)[LANES], Op op) {
  MOEBIUS_UNROLL
  for (int i = 0; i < LANES; i += 2 * H) {
    exchange<H>(rows[i], rows[i + H], typename CountLanes<LANES>::Type{});
    rows[i] = op(rows[i], rows[i + H]);
  }
  if constexpr (2 * H < LANES) return across<2 * H>(rows, op);
  return rows[0];
}

template <int H, int... C>
static VecU with_other(VecU v, LaneNumbers<C...>) {
  return __builtin_shufflevector(v, v, (C ^ H)...);
}

/// As prepare_group, for LANES groups of G values at once; `together` (1 or 4) groups share a
/// scale.
template <int G>
static void prepare_groups(const float* x, long together, signed char* codes, float* scales,
                           std::int32_t* sums) {
  using Bytes __attribute__((vector_size(LANES))) = signed char;
  const auto larger = [](VecU a, VecU b) { return a > b ? a : b; };
  const auto plus = [](VecU a, VecU b) { return a + b; };
  const auto bits = [&](int i) { return load_unaligned<sizeof(VecU), VecU>(x + i * LANES); };
  VecU rows[LANES];
  MOEBIUS_UNROLL
  for (int g = 0; g < LANES; ++g) {
    rows[g] = bits(g * G / LANES) & 0x7FFFFFFF;
    MOEBIUS_UNROLL
    for (int i = 1; i < G / LANES; ++i) {
      rows[g] = larger(rows[g], bits(g * G / LANES + i) & 0x7FFFFFFF);
    }
  }
  VecU largest = across(rows, larger);
  if (together == 4) {
    const typename CountLanes<LANES>::Type lanes{};
    largest = larger(largest, with_other<1>(largest, lanes));
    largest = larger(largest, with_other<2>(largest, lanes));
  }
  const VecF max = (VecF)largest;
  const VecU finite = (VecU)(largest < 0x7F800000), not_tiny = (VecU)(max >= 1e-30f);
  const VecF inverse = (VecF)((VecU)(127.0f / max) & finite & not_tiny);
  const VecU nan = (VecU)(VecF{} + __builtin_nanf(""));
  const VecF scale = (VecF)(((VecU)(max / 127.0f) & finite) | (nan & ~finite));
  MOEBIUS_UNROLL
  for (int g = 0; g < LANES; ++g) {
    MOEBIUS_UNROLL
    for (int i = 0; i < G / LANES; ++i) {
      const VecF v = (VecF)(bits(g * G / LANES + i) & finite[g]);
      const VecU code = (VecU)(v * inverse[g] + 12582912.0f) - 0x4B400000;
      rows[g] = i == 0 ? code : rows[g] + code;
      const Bytes bytes = __builtin_convertvector(code, Bytes);
      __builtin_memcpy(codes + g * G + i * LANES, &bytes, sizeof bytes);
    }
  }
  const VecU total = across(rows, plus);
  __builtin_memcpy(sums, &total, sizeof total);
  MOEBIUS_UNROLL
  for (int g = 0; g < LANES; ++g) {
    if (g % together == 0) scales[g / together] = scale[g];
  }
}

static void prepare_int8(const PackedShape& s, const float* x, signed char* codes, float* scales,
                         std::int32_t* sums) {
  const long group = s.group, x_group = s.x_group(), together = x_group / group;
  const long padded = s.padded_k(), at_once = LANES * group;
  long begin = 0;
  if (group == 32 || group == 64) {
    const auto some = group == 32 ? prepare_groups<32> : prepare_groups<64>;
    for (; begin + at_once <= s.k; begin += at_once) {
      some(x + begin, together, codes + begin, scales + begin / x_group, sums + begin / group);
    }
  }
  for (long k = begin; k < s.k; k += x_group) {
    const long left = s.k - k;
    scales[k / x_group] = prepare_group(x + k, left < x_group ? left : x_group, codes + k);
  }
  for (long k = s.k; k < padded; ++k) codes[k] = 0;
  for (long k = begin; k < padded; k += group) {
    const long left = padded - k;
    sums[k / group] = sum_of_codes(codes + k, left < group ? left : group);
  }
}

static void prepare(const PackedShape& s, const float* x, std::int64_t ldx, std::int64_t m,
                    const Prepared& out) {
  const long padded = s.padded_k();
  if (s.quantised() && m > 1 && ldx == s.k && s.k % s.x_group() == 0) {  // as one row
    PackedShape all = s;
    all.k = m * s.k;
    return prepare(all, x, all.k, 1, out);
  }
  for (long r = 0; r < m; ++r, x += ldx) {
    if (s.type == PackedType::f32) {
      __builtin_memcpy(static_cast<float*>(out.x) + r * padded, x, (unsigned long)s.k * 4);
    } else if (s.type == PackedType::bf16) {
      prepare_bf16(x, s.k, static_cast<unsigned short*>(out.x) + r * padded);
    } else {
      prepare_int8(s, x, static_cast<signed char*>(out.x) + r * padded,
                   out.scales + r * s.x_groups(), out.sums + r * s.groups());
    }
  }
}

/// Four words.
using Words4 __attribute__((vector_size(16))) = std::uint32_t;

/// Transposes 4 x 4 words.
[[gnu::always_inline]] static inline void transpose(Words4 (&w)[4]) {
  const Words4 a = __builtin_shufflevector(w[0], w[1], 0, 4, 1, 5);
  const Words4 b = __builtin_shufflevector(w[2], w[3], 0, 4, 1, 5);
  const Words4 c = __builtin_shufflevector(w[0], w[1], 2, 6, 3, 7);
  const Words4 d = __builtin_shufflevector(w[2], w[3], 2, 6, 3, 7);
  w[0] = __builtin_shufflevector(a, b, 0, 1, 4, 5);
  w[1] = __builtin_shufflevector(a, b, 2, 3, 6, 7);
  w[2] = __builtin_shufflevector(c, d, 0, 1, 4, 5);
  w[3] = __builtin_shufflevector(c, d, 2, 3, 6, 7);
}

/// Interleaves `steps` words of each of M rows: out [steps][M].
template <int M>
static void interleave_rows(const std::uint32_t* const* rows, long steps, std::uint32_t* out) {
  const std::uint32_t* row[M];
  for (int i = 0; i < M; ++i) row[i] = rows[i];
  long k = 0;
  if constexpr (M >= 4) {
    for (; k + 4 <= steps; k += 4) {
      MOEBIUS_UNROLL
      for (int i = 0; i < M; i += 4) {
        const int first = i + 4 <= M ? i : M - 4;  // the last block overlaps
        Words4 words[4];
        MOEBIUS_UNROLL
        for (int j = 0; j < 4; ++j) words[j] = load_unaligned<16, Words4>(row[first + j] + k);
        transpose(words);
        MOEBIUS_UNROLL
        for (int j = 0; j < 4; ++j) {
          __builtin_memcpy(out + (k + j) * M + first, &words[j], sizeof words[j]);
        }
      }
    }
  }
  for (; k < steps; ++k) {
    MOEBIUS_UNROLL
    for (int i = 0; i < M; ++i) out[k * M + i] = row[i][k];
  }
}

template <int M>
static void interleave_up_to(const std::uint32_t* const* rows, long steps, int m,
                             std::uint32_t* out) {
  if constexpr (M > 1) {
    if (m < M) return interleave_up_to<M - 1>(rows, steps, m, out);
  }
  interleave_rows<M>(rows, steps, out);
}

/// Interleaves rows `ids` of x, or the first m.
static void interleave_words(const void* x, const std::int32_t* ids, long steps, int m, void* out) {
  static_assert(TILE_F32 >= TILE_BF16 && TILE_F32 >= TILE_INT8 && TILE_F32 >= TILE_INT4 &&
                TILE_F32 <= LANES && TILE_F32 <= max_tile_rows);
  const std::uint32_t* rows[max_tile_rows];
  for (int i = 0; i < m; ++i) {
    rows[i] = static_cast<const std::uint32_t*>(x) + (ids != nullptr ? ids[i] : i) * steps;
  }
  interleave_up_to<TILE_F32>(rows, steps, m, static_cast<std::uint32_t*>(out));
}

static void interleave(const PackedShape& s, const Prepared& from, const std::int32_t* ids,
                       const TileRows& out) {
  const long padded = s.padded_k(), groups = s.groups();
  const long per_word = s.type == PackedType::f32 ? 1 : s.type == PackedType::bf16 ? 2 : 4;
  interleave_words(from.x, ids, padded / per_word, out.m, out.x);
  if (groups == 0) return;
  interleave_words(from.scales, ids, s.x_groups(), out.m, out.scales);
  const int zero = s.type == PackedType::int8 ? -128 : -8;
  for (int i = 0; i < out.m; ++i) {
    const std::int32_t* sums = from.sums + (ids != nullptr ? ids[i] : i) * groups;
    for (long g = 0; g < groups; ++g) out.offsets[g * out.m + i] = zero * sums[g];
  }
}
