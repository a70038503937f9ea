// Body of the kernels over packed matrices, for table_body.h. The instruction set has defined
//   F16, I16   16 floats, 16 int32      B64   64 bytes of weights, or 4 bytes 16 times
//   load_f32, load_bf16, load_bytes, splat_f32, splat_i32, splat_bytes, store
//   low_halves, high_halves             of each byte
//   fma(a, b, c) = a b + c, mul, to_float
//   dot_bf16(acc, w, x), dot_u8(acc, w, x), dot_u4(acc, w, x)   a step of 16 dot products: pairs of
//                                       bf16; four unsigned bytes, or bytes below 16, with signed
//   TILE_F32, TILE_BF16, TILE_INT       most rows of a tile
//
// A tile keeps its sums in registers and walks K once; each piece of w serves M rows.

/// A panel on its way. Weights that meet few rows come from memory, and are asked for some steps
/// before they are used, into the second-level cache: the hardware does not do that early enough,
/// nor beyond the end of a panel.
template <int M>
struct Stream {
  static constexpr bool from_memory = M <= 4;
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
    }
  }
};

template <int M>
static void clear(F16 (&y)[M][2]) {
  MOEBIUS_UNROLL
  for (int i = 0; i < M; ++i) y[i][0] = y[i][1] = splat_f32(0);
}

template <int M>
static void store_tile(const Tile& t, const F16 (&y)[M][2]) {
  MOEBIUS_UNROLL
  for (int i = 0; i < M; ++i) {
    store(t.y + i * t.ldy, y[i][0]);
    store(t.y + i * t.ldy + 16, y[i][1]);
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
    const F16 a = load_f32(w0), b = load_f32(w1);
    MOEBIUS_UNROLL
    for (int i = 0; i < M; ++i) {
      const F16 xi = splat_f32(x[i]);
      y[i][0] = fma(a, xi, y[i][0]);
      y[i][1] = fma(b, xi, y[i][1]);
    }
  }
  store_tile<M>(t, y);
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
    a.template fetch<at_once>();
    b.template fetch<at_once>();
    MOEBIUS_UNROLL
    for (int i = 0; i < at_once; ++i, x += 2 * M, a.at += 64, b.at += 64) {
      add_products<M>(y, load_bytes(a.at), load_bytes(b.at), x, dot);
    }
  }
  for (; left > 0; --left, x += 2 * M, a.at += 64, b.at += 64) {
    add_products<M>(y, load_bytes(a.at), load_bytes(b.at), x, dot);
  }
  store_tile<M>(t, y);
}

/// 64 bytes of a panel: four columns of w, or eight in half bytes.
struct Int8Step {
  static constexpr int columns = 4;
  template <int M>
  static void run(I16 (&sum)[M][2], const signed char* x, const unsigned char* w0,
                  const unsigned char* w1) {
    const auto dot = [](I16 acc, B64 w, B64 xi) { return dot_u8(acc, w, xi); };
    add_products<M>(sum, load_bytes(w0), load_bytes(w1), x, dot);
  }
};

struct Int4Step {
  static constexpr int columns = 8;
  template <int M>
  static void run(I16 (&sum)[M][2], const signed char* x, const unsigned char* w0,
                  const unsigned char* w1) {
    const auto dot = [](I16 acc, B64 w, B64 xi) { return dot_u4(acc, w, xi); };
    const B64 a = load_bytes(w0), b = load_bytes(w1);
    add_products<M>(sum, low_halves(a), low_halves(b), x, dot);
    add_products<M>(sum, high_halves(a), high_halves(b), x + 4 * M, dot);
  }
};

/// Whole groups of G columns: their number is known, so that the loop unrolls; G 0: `columns`.
template <class Step, int M, int G>
static void add_group(const Tile& t, long g, long columns, const signed char*& x, Stream<M>& w0,
                      Stream<M>& w1, F16 (&y)[M][2]) {
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
  for (int i = 0; i < M; ++i) {
    const F16 xi = splat_f32(t.rows.scales[g * M + i]);
    y[i][0] = fma(to_float(sum[i][0]), mul(a, xi), y[i][0]);
    y[i][1] = fma(to_float(sum[i][1]), mul(b, xi), y[i][1]);
  }
}

template <class Step, int M, int G>
static void tile_groups(const PackedShape& s, const Tile& t) {
  F16 y[M][2];
  clear<M>(y);
  const auto* x = static_cast<const signed char*>(t.rows.x);
  const long group = G > 0 ? G : s.group, padded = s.padded_k(), bytes = s.panel_bytes();
  Stream<M> w0(t.w[0], t.next[0], bytes), w1(t.w[1], t.next[1], bytes);
  long g = 0, k = 0;
  for (; k + group <= padded; k += group, ++g) {
    if (Stream<M>::from_memory && g % 2 == 0) {
      __builtin_prefetch(t.scales[0] + g * 16 + 512, 0, 2);
      __builtin_prefetch(t.scales[1] + g * 16 + 512, 0, 2);
    }
    add_group<Step, M, G>(t, g, group, x, w0, w1, y);
  }
  if (k < padded) add_group<Step, M, 0>(t, g, padded - k, x, w0, w1, y);
  store_tile<M>(t, y);
}

template <class Step, int M>
static void tile_int(const PackedShape& s, const Tile& t) {
  if (s.group == 32) return tile_groups<Step, M, 32>(s, t);
  if (s.group == 64) return tile_groups<Step, M, 64>(s, t);
  tile_groups<Step, M, 0>(s, t);
}

/// Of tiles with at most M rows the one with as many as `t` has.
template <int M>
static void tile_of(const PackedShape& s, const Tile& t) {
  if constexpr (M > 1) {
    if (t.rows.m < M) return tile_of<M - 1>(s, t);
  }
  switch (s.type) {
    case PackedType::f32:
      if constexpr (M <= TILE_F32) tile_f32<M>(s, t);
      return;
    case PackedType::bf16:
      if constexpr (M <= TILE_BF16) tile_bf16<M>(s, t);
      return;
    case PackedType::int8:
      if constexpr (M <= TILE_INT) tile_int<Int8Step, M>(s, t);
      return;
    case PackedType::int4:
      if constexpr (M <= TILE_INT) tile_int<Int4Step, M>(s, t);
      return;
  }
}

static void tile(const PackedShape& s, const Tile& t) {
  static_assert(TILE_F32 >= TILE_BF16 && TILE_F32 >= TILE_INT && TILE_F32 <= max_tile_rows);
  tile_of<TILE_F32>(s, t);
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

/// To the nearest of -127 ... 127 times the scale, ties to even.
static void prepare_group(const float* x, long k, long padded, signed char* out, float* scale,
                          std::int32_t* sum) {
  unsigned largest = 0;
  for (long i = 0; i < k; ++i) {
    const unsigned magnitude = bits_of(x[i]) & 0x7FFFFFFF;
    largest = magnitude > largest ? magnitude : largest;
  }
  float max;
  __builtin_memcpy(&max, &largest, 4);
  const bool finite = largest < 0x7F800000, dark = max < 1e-30f;
  *scale = finite ? max / 127 : __builtin_nanf("");
  const float inverse = finite && !dark ? 127 / max : 0;
  int total = 0;
  for (long i = 0; i < k; ++i) {
    const float xi = finite ? x[i] : 0;
    const int q = (int)(bits_of(__builtin_fmaf(xi, inverse, 12582912.0f)) - 0x4B400000);
    out[i] = (signed char)q;
    total += q;
  }
  for (long i = k; i < padded; ++i) out[i] = 0;
  *sum = total;
}

static void prepare(const PackedShape& s, const float* x, std::int64_t ldx, std::int64_t m,
                    const Prepared& out) {
  const long padded = s.padded_k(), groups = s.groups();
  for (long r = 0; r < m; ++r, x += ldx) {
    if (s.type == PackedType::f32) {
      __builtin_memcpy(static_cast<float*>(out.x) + r * padded, x, (unsigned long)s.k * 4);
    } else if (s.type == PackedType::bf16) {
      prepare_bf16(x, s.k, static_cast<unsigned short*>(out.x) + r * padded);
    } else {
      for (long g = 0; g < groups; ++g) {
        const long k = g * s.group, end = k + s.group < padded ? k + s.group : padded;
        const long count = (end < s.k ? end : s.k) - k;
        prepare_group(x + k, count, end - k, static_cast<signed char*>(out.x) + r * padded + k,
                      out.scales + r * groups + g, out.sums + r * groups + g);
      }
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
  weave(from.scales, ids, groups, out.m, out.scales);
  const int zero = s.type == PackedType::int8 ? -128 : -8;
  for (int i = 0; i < out.m; ++i) {
    const std::int32_t* sums = from.sums + (ids != nullptr ? ids[i] : i) * groups;
    for (long g = 0; g < groups; ++g) out.offsets[g * out.m + i] = zero * sums[g];
  }
}
