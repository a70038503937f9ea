// Body of the kernels over packed matrices, for table_body.h. The instruction set has defined
//   F16, I16   16 floats, 16 int32      B64   64 bytes of weights, or 4 bytes 16 times
//   load_f32, load_bf16, load_bytes, splat_f32, splat_i32, splat_bytes, store
//   low_halves, high_halves             of each byte
//   fma(a, b, c) = a b + c, mul, to_float
//   dot_bf16(acc, w, x), dot_u8(acc, w, x), dot_u4(acc, w, x)   a step of 16 dot products: pairs of
//                                       bf16; four unsigned bytes, or bytes below 16, with signed
//   TILE_F32, TILE_BF16, TILE_INT8, TILE_INT4   most rows of a tile
//
// A tile keeps its sums in registers and walks K once; each piece of w serves M rows.

/// A panel on its way. Weights that meet few rows come from memory, and are asked for some steps
/// before they are used, into the second-level cache: the hardware does not do that early enough,
/// nor beyond the end of a panel. Those that meet many are asked for while others are used, a line
/// for eight.
template <int M>
struct Stream {
  static constexpr bool from_memory = M <= streamed_rows;
  static constexpr long most_ahead = 3072;

  const unsigned char *at, *ahead, *next;
  long left;  ///< bytes of the panel that nobody has asked for

  Stream(const void* panel, const void* after, long bytes)
      : at(static_cast<const unsigned char*>(panel)),
        ahead(at + (bytes < most_ahead ? bytes : most_ahead)),
        next(static_cast<const unsigned char*>(after != nullptr ? after : panel)),
        left(at + bytes - ahead) {}

  /// Before `lines` of 64 bytes are read.
  template <int LINES>
  void fetch() {
    if constexpr (from_memory) {
      if (left <= 0) {  // on with the next one, of which less is asked for than it has
        ahead = next;
        left = __LONG_MAX__;
      }
      MOEBIUS_UNROLL
      for (int line = 0; line < LINES; ++line) __builtin_prefetch(ahead + 64 * line, 0, 2);
      ahead += 64 * LINES;
      left -= 64 * LINES;
    } else if constexpr (LINES == 8) {
      __builtin_prefetch(next, 0, 2);
      next += 64;
    }
  }
};

template <int M>
static void clear(F16 (&y)[M][2]) {
  MOEBIUS_UNROLL
  for (int i = 0; i < M; ++i) y[i][0] = y[i][1] = splat_f32(0);
}

/// Sums [m, 32] to where they go.
static void put_rows(const TileOutput& out, const float* sums, long m);

template <int M>
[[gnu::always_inline]] static inline void put_tile(const TileOutput& out, const F16 (&sums)[M][2]) {
  const bool whole = out.type == ValueType::f32 &&
                     out.columns[0] + out.columns[1] == 2 * panel_width && out.bias[0] == nullptr &&
                     out.bias[1] == nullptr;
  auto* y = static_cast<float*>(out.y);
  if (whole && out.add) {
    MOEBIUS_UNROLL
    for (int i = 0; i < M; ++i) {
      float* row = y + (out.ids != nullptr ? out.ids[i] : i) * out.ldy;
      const F16 scale = splat_f32(out.scales != nullptr ? out.scales[i] : 1);
      const F16 keep = splat_f32(out.keep != nullptr ? out.keep[i] : 1);
      store(row, fma(sums[i][0], scale, mul(load_f32(row), keep)));
      store(row + 16, fma(sums[i][1], scale, mul(load_f32(row + 16), keep)));
    }
  } else if (whole && out.ids == nullptr && out.scales == nullptr) {
    MOEBIUS_UNROLL
    for (int i = 0; i < M; ++i) {
      store(y + i * out.ldy, sums[i][0]);
      store(y + i * out.ldy + 16, sums[i][1]);
    }
  } else {
    alignas(64) float rows[M * 2 * panel_width];
    MOEBIUS_UNROLL
    for (int i = 0; i < M; ++i) {
      store(rows + 32 * i, sums[i][0]);
      store(rows + 32 * i + 16, sums[i][1]);
    }
    put_rows(out, rows, M);
  }
}

/// Asks for what the sums of many rows will be added to, some time before it is needed; not so long
/// that weights drive it out again.
template <int M>
static void ask_for_output(const TileOutput& out) {
  if (M <= streamed_rows || !out.add) return;
  const auto* y = static_cast<const float*>(out.y);
  MOEBIUS_UNROLL
  for (int i = 0; i < M; ++i) {
    const float* row = y + (out.ids != nullptr ? out.ids[i] : i) * out.ldy;
    __builtin_prefetch(row, 1);
    __builtin_prefetch(row + 16, 1);
  }
}

template <int M>
static void tile_f32(const PackedShape& s, const Tile& t) {
  F16 y[M][2];
  clear<M>(y);
  const auto* x = static_cast<const float*>(t.rows.x);
  const auto* w0 = static_cast<const float*>(t.w[0]);
  const auto* w1 = static_cast<const float*>(t.w[1]);
  for (long k = 0; k < s.k; ++k, x += M, w0 += 16, w1 += 16) {
    if (s.k - k == 32) ask_for_output<M>(t.out);
    const F16 a = load_f32(w0), b = load_f32(w1);
    MOEBIUS_UNROLL
    for (int i = 0; i < M; ++i) {
      const F16 xi = splat_f32(x[i]);
      y[i][0] = fma(a, xi, y[i][0]);
      y[i][1] = fma(b, xi, y[i][1]);
    }
  }
  put_tile<M>(t.out, y);
}

/// A step of the dot products of M rows, 4 bytes of each, with two panels.
template <int M, class Sum, class Dot>
static void add_products(Sum (&sum)[M][2], B64 a, B64 b, const void* x, Dot dot) {
  MOEBIUS_UNROLL
  for (int i = 0; i < M; ++i) {
    const B64 xi = splat_bytes(static_cast<const unsigned char*>(x) + 4 * i);
    sum[i][0] = dot(sum[i][0], a, xi);
    sum[i][1] = dot(sum[i][1], b, xi);
  }
}

template <int M>
static void tile_bf16(const PackedShape& s, const Tile& t) {
  const auto dot = [](F16 sum, B64 w, B64 x) { return dot_bf16(sum, w, x); };
  F16 y[M][2];
  clear<M>(y);
  const auto* x = static_cast<const unsigned short*>(t.rows.x);
  const long bytes = s.panel_bytes();
  Stream<M> a(t.w[0], t.next[0], bytes), b(t.w[1], t.next[1], bytes);
  constexpr int at_once = Stream<M>::from_memory ? 4 : 1;
  long left = bytes / 64;
  for (; left >= at_once; left -= at_once) {
    if (at_once > 1) {
      a.template fetch<at_once>();
      b.template fetch<at_once>();
    } else if (left % 8 == 0) {
      a.template fetch<8>();
      b.template fetch<8>();
      if (left == 32) ask_for_output<M>(t.out);
    }
    MOEBIUS_UNROLL
    for (int i = 0; i < at_once; ++i, x += 2 * M, a.at += 64, b.at += 64) {
      add_products<M>(y, load_bytes(a.at), load_bytes(b.at), x, dot);
    }
  }
  for (; left > 0; --left, x += 2 * M, a.at += 64, b.at += 64) {
    add_products<M>(y, load_bytes(a.at), load_bytes(b.at), x, dot);
  }
  put_tile<M>(t.out, y);
}

/// 64 bytes of a panel: four columns of w, or eight in half bytes; x has a scale for `x_groups`
/// groups.
struct Int8Step {
  static constexpr int columns = 4, x_groups = 1;
  template <int M>
  static void run(I16 (&sum)[M][2], const signed char* x, const unsigned char* w0,
                  const unsigned char* w1) {
    const auto dot = [](I16 acc, B64 w, B64 xi) { return dot_u8(acc, w, xi); };
    add_products<M>(sum, load_bytes(w0), load_bytes(w1), x, dot);
  }
};

struct Int4Step {
  static constexpr int columns = 8, x_groups = 4;
  template <int M>
  static void run(I16 (&sum)[M][2], const signed char* x, const unsigned char* w0,
                  const unsigned char* w1) {
    const auto dot = [](I16 acc, B64 w, B64 xi) { return dot_u4(acc, w, xi); };
    const B64 a = load_bytes(w0), b = load_bytes(w1);
    add_products<M>(sum, low_halves(a), low_halves(b), x, dot);
    add_products<M>(sum, high_halves(a), high_halves(b), x + 4 * M, dot);
  }
};

/// The products of a group of G columns; G 0: `columns`. A number that is known unrolls. Hands the
/// sums of each row to add(row, sums, sums, scales, scales) of both panels.
template <class Step, int M, int G, class Add>
[[gnu::always_inline]] static inline void add_group(const Tile& t, long g, long columns,
                                                    const signed char*& x, Stream<M>& w0,
                                                    Stream<M>& w1, Add add) {
  I16 sum[M][2];
  MOEBIUS_UNROLL
  for (int i = 0; i < M; ++i) sum[i][0] = sum[i][1] = splat_i32(t.rows.offsets[g * M + i]);
  const long count = (G > 0 ? G : columns) / Step::columns;
  constexpr int most = G / Step::columns, at_once = most < 8 ? most : 8;  // more would queue up
  MOEBIUS_UNROLL
  for (long step = 0; step < count; ++step) {
    if constexpr (at_once > 0) {
      if (step % at_once == 0) {
        w0.template fetch<at_once>();
        w1.template fetch<at_once>();
      }
    }
    Step::template run<M>(sum, x, w0.at, w1.at);
    x += Step::columns * M;
    w0.at += 64;
    w1.at += 64;
  }
  const F16 a = load_bf16(t.scales[0] + g * 16), b = load_bf16(t.scales[1] + g * 16);
  MOEBIUS_UNROLL
  for (int i = 0; i < M; ++i) add(i, to_float(sum[i][0]), to_float(sum[i][1]), a, b);
}

/// Where a group of x is one of w.
template <class Step, int M, int G>
static void tile_groups(const PackedShape& s, const Tile& t) {
  F16 y[M][2];
  clear<M>(y);
  const auto* x = static_cast<const signed char*>(t.rows.x);
  const long group = G > 0 ? G : s.group, padded = s.padded_k(), bytes = s.panel_bytes();
  Stream<M> w0(t.w[0], t.next[0], bytes), w1(t.w[1], t.next[1], bytes);
  long g = 0, k = 0;
  const auto add = [&](int i, F16 sum0, F16 sum1, F16 a, F16 b) {
    const F16 xi = splat_f32(t.rows.scales[g * M + i]);
    y[i][0] = fma(sum0, mul(a, xi), y[i][0]);
    y[i][1] = fma(sum1, mul(b, xi), y[i][1]);
  };
  for (; k + group <= padded; k += group, ++g) {
    if (Stream<M>::from_memory && g % 2 == 0) {
      __builtin_prefetch(t.scales[0] + g * 16 + 512, 0, 2);
      __builtin_prefetch(t.scales[1] + g * 16 + 512, 0, 2);
    }
    if (padded - k == 4 * group) ask_for_output<M>(t.out);
    add_group<Step, M, G>(t, g, group, x, w0, w1, add);
  }
  if (k < padded) add_group<Step, M, 0>(t, g, padded - k, x, w0, w1, add);
  put_tile<M>(t.out, y);
}

/// Where a group of x is several of w: registers are for what those add up to, and all of them wait
/// in memory.
template <class Step, int M, int G>
static void tile_grouped_groups(const PackedShape& s, const Tile& t) {
  F16 part[M][2];
  alignas(64) float y[M][2 * panel_width] = {};
  const auto* x = static_cast<const signed char*>(t.rows.x);
  const float* x_scales = t.rows.scales;
  const long group = G > 0 ? G : s.group, padded = s.padded_k(), bytes = s.panel_bytes();
  Stream<M> w0(t.w[0], t.next[0], bytes), w1(t.w[1], t.next[1], bytes);
  const auto add = [&](int i, F16 sum0, F16 sum1, F16 a, F16 b) {
    part[i][0] = fma(sum0, a, part[i][0]);
    part[i][1] = fma(sum1, b, part[i][1]);
  };
  const auto finish = [&] {
    MOEBIUS_UNROLL
    for (int i = 0; i < M; ++i) {
      const F16 xi = splat_f32(x_scales[i]);
      store(y[i], fma(part[i][0], xi, load_f32(y[i])));
      store(y[i] + 16, fma(part[i][1], xi, load_f32(y[i] + 16)));
    }
    x_scales += M;
  };
  const auto put = [&] {
    MOEBIUS_UNROLL
    for (int i = 0; i < M; ++i) {
      part[i][0] = load_f32(y[i]);
      part[i][1] = load_f32(y[i] + 16);
    }
    put_tile<M>(t.out, part);
  };
  long g = 0, k = 0;
  while (k + Step::x_groups * group <= padded) {
    if (Stream<M>::from_memory) {
      MOEBIUS_UNROLL
      for (int line = 0; line < Step::x_groups / 2; ++line) {
        __builtin_prefetch(t.scales[0] + g * 16 + 512 + 32 * line, 0, 2);
        __builtin_prefetch(t.scales[1] + g * 16 + 512 + 32 * line, 0, 2);
      }
    }
    if (padded - k == Step::x_groups * group) ask_for_output<M>(t.out);
    clear<M>(part);
    for (int i = 0; i < Step::x_groups; ++i, ++g) {
      add_group<Step, M, G>(t, g, group, x, w0, w1, add);
    }
    k += Step::x_groups * group;
    finish();
  }
  if (k == padded) return put();
  clear<M>(part);
  for (; k + group <= padded; k += group, ++g) {
    add_group<Step, M, G>(t, g, group, x, w0, w1, add);
  }
  if (k < padded) add_group<Step, M, 0>(t, g, padded - k, x, w0, w1, add);
  finish();
  put();
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
  for (long i = 0; i < k; ++i) {
    const unsigned bits = bits_of(x[i]);
    const unsigned rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16, nan = bits >> 16 | 0x40;
    out[i] = (unsigned short)((bits & 0x7FFFFFFF) > 0x7F800000 ? nan : rounded);
  }
  if (k % 2 != 0) out[k] = 0;
}

/// To the nearest of -127 ... 127 times the scale, which is given back; ties to even.
static float prepare_group(const float* x, long k, signed char* out) {
  unsigned largest = 0;
  for (long i = 0; i < k; ++i) {
    const unsigned magnitude = bits_of(x[i]) & 0x7FFFFFFF;
    largest = magnitude > largest ? magnitude : largest;
  }
  float max;
  __builtin_memcpy(&max, &largest, 4);
  const bool finite = largest < 0x7F800000, dark = max < 1e-30f;
  const float inverse = finite && !dark ? 127 / max : 0;
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

/// Lane i: what the lanes of rows[i] come to.
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

/// As prepare_group does it, LANES groups of G values at once; `together` (1 or 4) of them share a
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
  const VecU finite = (VecU)(largest < 0x7F800000), bright = (VecU)(max >= 1e-30f);
  const VecF inverse = (VecF)((VecU)(127.0f / max) & finite & bright);
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
  if (s.quantised() && m > 1 && ldx == s.k && s.k % s.x_group() == 0) {  // as one long row
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

/// `steps` words of each of M rows in turn: out [steps][M].
template <int M>
static void weave_rows(const std::uint32_t* const* rows, long steps, std::uint32_t* out) {
  const std::uint32_t* row[M];
  for (int i = 0; i < M; ++i) row[i] = rows[i];
  for (long k = 0; k < steps; ++k) {
    MOEBIUS_UNROLL
    for (int i = 0; i < M; ++i) out[k * M + i] = row[i][k];
  }
}

template <int M>
static void weave_at_most(const std::uint32_t* const* rows, long steps, int m, std::uint32_t* out) {
  if constexpr (M > 1) {
    if (m < M) return weave_at_most<M - 1>(rows, steps, m, out);
  }
  weave_rows<M>(rows, steps, out);
}

/// Rows `ids` of x, or the first m.
static void weave(const void* x, const std::int32_t* ids, long steps, int m, void* out) {
  static_assert(TILE_F32 >= TILE_BF16 && TILE_F32 >= TILE_INT8 && TILE_F32 >= TILE_INT4 &&
                TILE_F32 <= LANES && TILE_F32 <= max_tile_rows);
  const std::uint32_t* rows[max_tile_rows];
  for (int i = 0; i < m; ++i) {
    rows[i] = static_cast<const std::uint32_t*>(x) + (ids != nullptr ? ids[i] : i) * steps;
  }
  weave_at_most<TILE_F32>(rows, steps, m, static_cast<std::uint32_t*>(out));
}

static void interleave(const PackedShape& s, const Prepared& from, const std::int32_t* ids,
                       const TileRows& out) {
  const long padded = s.padded_k(), groups = s.groups();
  const long per_word = s.type == PackedType::f32 ? 1 : s.type == PackedType::bf16 ? 2 : 4;
  weave(from.x, ids, padded / per_word, out.m, out.x);
  if (groups == 0) return;
  weave(from.scales, ids, s.x_groups(), out.m, out.scales);
  const int zero = s.type == PackedType::int8 ? -128 : -8;
  for (int i = 0; i < out.m; ++i) {
    const std::int32_t* sums = from.sums + (ids != nullptr ? ids[i] : i) * groups;
    for (long g = 0; g < groups; ++g) out.offsets[g * out.m + i] = zero * sums[g];
  }
}
