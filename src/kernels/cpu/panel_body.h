// Body of the kernels over packed matrices, included once by the file of each instruction set
// inside its own namespace, after it has defined
//   F16, I16   16 floats, 16 int32      B64   64 bytes of weights, or 4 bytes 16 times
//   load_f32, load_bf16, load_bytes, splat_f32, splat_i32, splat_bytes, store
//   low_halves, high_halves             of each byte
//   fma(a, b, c) = a b + c, mul, to_float
//   dot_bf16(acc, w, x), dot_u8(acc, w, x), dot_u4(acc, w, x)   a step of 16 dot products: pairs of
//                                       bf16; four unsigned bytes, or bytes below 16, with signed
//   TILE_F32, TILE_BF16, TILE_INT       most rows of a tile
// No inline function from elsewhere is called here; see rows_gemm_body.h.
//
// A tile keeps its sums in registers and walks K once; each piece of w serves M rows.

#ifdef __clang__
#define UNROLL
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

template <int M>
static void store_tile(const Tile& t, const F16 (&y)[M][2]) {
  UNROLL
  for (int i = 0; i < M; ++i) {
    store(t.y + i * t.ldy, y[i][0]);
    store(t.y + i * t.ldy + 16, y[i][1]);
  }
}

template <int M>
static void tile_f32(const PackedShape& s, const Tile& t) {
  F16 y[M][2];
  UNROLL
  for (int i = 0; i < M; ++i) y[i][0] = y[i][1] = splat_f32(0);
  const auto* x = static_cast<const float*>(t.rows.x);
  const auto* w0 = static_cast<const float*>(t.w[0]);
  const auto* w1 = static_cast<const float*>(t.w[1]);
  for (long k = 0; k < s.k; ++k, x += M, w0 += 16, w1 += 16) {
    const F16 a = load_f32(w0), b = load_f32(w1);
    UNROLL
    for (int i = 0; i < M; ++i) {
      const F16 xi = splat_f32(x[i]);
      y[i][0] = fma(a, xi, y[i][0]);
      y[i][1] = fma(b, xi, y[i][1]);
    }
  }
  store_tile<M>(t, y);
}

template <int M>
static void tile_bf16(const PackedShape& s, const Tile& t) {
  F16 y[M][2];
  UNROLL
  for (int i = 0; i < M; ++i) y[i][0] = y[i][1] = splat_f32(0);
  const auto* x = static_cast<const unsigned short*>(t.rows.x);
  const auto* w0 = static_cast<const unsigned char*>(t.w[0]);
  const auto* w1 = static_cast<const unsigned char*>(t.w[1]);
  for (long k = 0; k < s.k; k += 2, x += 2 * M, w0 += 64, w1 += 64) {
    const B64 a = load_bytes(w0), b = load_bytes(w1);
    UNROLL
    for (int i = 0; i < M; ++i) {
      const B64 xi = splat_bytes(x + 2 * i);
      y[i][0] = dot_bf16(y[i][0], a, xi);
      y[i][1] = dot_bf16(y[i][1], b, xi);
    }
  }
  store_tile<M>(t, y);
}

/// Four columns of w at a time, of 64 bytes, or eight in half bytes of 64.
template <int M>
struct Int8Steps {
  static constexpr int columns = 4;
  static void run(I16 (&sum)[M][2], const signed char* x, const unsigned char* w0,
                  const unsigned char* w1) {
    const B64 a = load_bytes(w0), b = load_bytes(w1);
    UNROLL
    for (int i = 0; i < M; ++i) {
      const B64 xi = splat_bytes(x + 4 * i);
      sum[i][0] = dot_u8(sum[i][0], a, xi);
      sum[i][1] = dot_u8(sum[i][1], b, xi);
    }
  }
};

template <int M>
struct Int4Steps {
  static constexpr int columns = 8;
  static void run(I16 (&sum)[M][2], const signed char* x, const unsigned char* w0,
                  const unsigned char* w1) {
    const B64 a = load_bytes(w0), b = load_bytes(w1);
    const B64 a_low = low_halves(a), b_low = low_halves(b);
    UNROLL
    for (int i = 0; i < M; ++i) {
      const B64 xi = splat_bytes(x + 4 * i);
      sum[i][0] = dot_u4(sum[i][0], a_low, xi);
      sum[i][1] = dot_u4(sum[i][1], b_low, xi);
    }
    const B64 a_high = high_halves(a), b_high = high_halves(b);
    UNROLL
    for (int i = 0; i < M; ++i) {
      const B64 xi = splat_bytes(x + 4 * (M + i));
      sum[i][0] = dot_u4(sum[i][0], a_high, xi);
      sum[i][1] = dot_u4(sum[i][1], b_high, xi);
    }
  }
};

/// Whole groups of G columns: their number is known, so that the loop unrolls; G 0: `columns`.
template <class Steps, int M, int G>
static void add_group(const Tile& t, long g, long columns, const signed char*& x,
                      const unsigned char*& w0, const unsigned char*& w1, F16 (&y)[M][2]) {
  I16 sum[M][2];
  UNROLL
  for (int i = 0; i < M; ++i) sum[i][0] = sum[i][1] = splat_i32(t.rows.offsets[g * M + i]);
  const long count = (G > 0 ? G : columns) / Steps::columns;
  UNROLL
  for (long step = 0; step < count; ++step) {
    Steps::run(sum, x, w0, w1);
    x += Steps::columns * M;
    w0 += 64;
    w1 += 64;
  }
  const F16 a = load_bf16(t.scales[0] + g * 16), b = load_bf16(t.scales[1] + g * 16);
  UNROLL
  for (int i = 0; i < M; ++i) {
    const F16 xi = splat_f32(t.rows.scales[g * M + i]);
    y[i][0] = fma(to_float(sum[i][0]), mul(a, xi), y[i][0]);
    y[i][1] = fma(to_float(sum[i][1]), mul(b, xi), y[i][1]);
  }
}

template <template <int> class Steps, int M, int G>
static void tile_groups(const PackedShape& s, const Tile& t) {
  F16 y[M][2];
  UNROLL
  for (int i = 0; i < M; ++i) y[i][0] = y[i][1] = splat_f32(0);
  const auto* x = static_cast<const signed char*>(t.rows.x);
  const auto* w0 = static_cast<const unsigned char*>(t.w[0]);
  const auto* w1 = static_cast<const unsigned char*>(t.w[1]);
  const long group = G > 0 ? G : s.group, padded = (s.k + 7) / 8 * 8;
  long g = 0, k = 0;
  for (; k + group <= padded; k += group, ++g) {
    add_group<Steps<M>, M, G>(t, g, group, x, w0, w1, y);
  }
  if (k < padded) add_group<Steps<M>, M, 0>(t, g, padded - k, x, w0, w1, y);
  store_tile<M>(t, y);
}

template <template <int> class Steps, int M>
static void tile_int(const PackedShape& s, const Tile& t) {
  return s.group == 32 ? tile_groups<Steps, M, 32>(s, t) : tile_groups<Steps, M, 0>(s, t);
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
      if constexpr (M <= TILE_INT) tile_int<Int8Steps, M>(s, t);
      return;
    case PackedType::int4:
      if constexpr (M <= TILE_INT) tile_int<Int4Steps, M>(s, t);
      return;
  }
}

static constexpr int MOST_ROWS = TILE_F32 > TILE_BF16   ? TILE_F32
                                 : TILE_BF16 > TILE_INT ? TILE_BF16
                                                        : TILE_INT;

static void tile(const PackedShape& s, const Tile& t) {
  tile_of<MOST_ROWS>(s, t);
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
  const long padded = (s.k + 7) / 8 * 8, groups = (padded + s.group - 1) / s.group;
  for (long r = 0; r < m; ++r, x += ldx) {
    if (s.type == PackedType::f32) {
      __builtin_memcpy(static_cast<float*>(out.x) + r * s.k, x, (unsigned long)s.k * 4);
    } else if (s.type == PackedType::bf16) {
      prepare_bf16(x, s.k, static_cast<unsigned short*>(out.x) + r * (s.k + s.k % 2));
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

/// `steps` elements of `Word` of each row, one after another: out [steps][M].
template <class Word>
static void weave(const void* x, const std::int32_t* ids, long steps, int m, void* out) {
  auto* to = static_cast<Word*>(out);
  for (int i = 0; i < m; ++i) {
    const auto* from = static_cast<const Word*>(x) + (ids != nullptr ? ids[i] : i) * steps;
    for (long k = 0; k < steps; ++k) to[k * m + i] = from[k];
  }
}

static void interleave(const PackedShape& s, const Prepared& from, const std::int32_t* ids,
                       const TileRows& out) {
  const long padded = (s.k + 7) / 8 * 8, groups = (padded + s.group - 1) / s.group;
  const long steps = s.type == PackedType::f32    ? s.k
                     : s.type == PackedType::bf16 ? (s.k + 1) / 2
                                                  : padded / 4;
  weave<std::uint32_t>(from.x, ids, steps, out.m, out.x);
  if (s.type != PackedType::int8 && s.type != PackedType::int4) return;
  weave<float>(from.scales, ids, groups, out.m, out.scales);
  const int zero = s.type == PackedType::int8 ? -128 : -8;
  for (int i = 0; i < out.m; ++i) {
    const std::int32_t* sums = from.sums + (ids != nullptr ? ids[i] : i) * groups;
    for (long g = 0; g < groups; ++g) out.offsets[g * out.m + i] = zero * sums[g];
  }
}

#undef UNROLL
