// Body of rows_gemm, for table_body.h. The instruction set has defined VecF (float vector), VecU
// (uint32 vector of equal length), VecH (uint16 vector of half its bytes), widen_f16(VecH),
// sum_of(VecF), LANES, ROWS (rows of w in a block), COLS (rows of x in a block).
//
// A block keeps ROWS x COLS sums in registers and walks K once; each widened piece of w serves
// COLS products, each piece of x ROWS. With many rows of x, K is cut into pieces of CUT columns so
// that they stay in the second-level cache, and the rows of w are widened once, into the first.

template <int BYTES, class V, class P>
static V load_unaligned(const P* from) {
  V v;
  __builtin_memcpy(&v, from, BYTES);
  return v;
}

struct LoadF32 {
  using Type = float;
  static VecF load(const float* w) { return load_unaligned<sizeof(VecF), VecF>(w); }
  static float one(const float* w) { return *w; }
};

struct LoadBf16 {
  using Type = unsigned short;
  static VecF load(const Type* w) {
    const VecU wide = __builtin_convertvector((load_unaligned<sizeof(VecH), VecH>(w)), VecU) << 16;
    return (VecF)wide;
  }
  static float one(const Type* w) {
    const unsigned bits = (unsigned)*w << 16;
    float f;
    __builtin_memcpy(&f, &bits, 4);
    return f;
  }
};

struct LoadF16 {
  using Type = unsigned short;
  static VecF load(const Type* w) { return widen_f16(load_unaligned<sizeof(VecH), VecH>(w)); }
  static float one(const Type* w) {
    VecH h = {};
    h[0] = *w;
    return widen_f16(h)[0];
  }
};

/// Adds to y[c][r], c < COLS rows of x, r < NROWS rows of w, the products over k columns.
template <class Load, int NROWS, int NCOLS>
static void block(const RowsGemm& a, const typename Load::Type* w, long ldw, const float* x,
                  float* y, long columns, bool first) {
  VecF sum[NROWS][NCOLS];
  for (int r = 0; r < NROWS; ++r) {
    for (int c = 0; c < NCOLS; ++c) sum[r][c] = VecF{};
  }
  long k = 0;
  for (; k + LANES <= columns; k += LANES) {
    VecF wide[NROWS];
    for (int r = 0; r < NROWS; ++r) wide[r] = Load::load(w + r * ldw + k);
    for (int c = 0; c < NCOLS; ++c) {
      const VecF xc = load_unaligned<sizeof(VecF), VecF>(x + c * a.ldx + k);
      for (int r = 0; r < NROWS; ++r) sum[r][c] += wide[r] * xc;
    }
  }
  for (int c = 0; c < NCOLS; ++c) {
    for (int r = 0; r < NROWS; ++r) {
      float total = sum_of(sum[r][c]);
      for (long t = k; t < columns; ++t) total += Load::one(w + r * ldw + t) * x[c * a.ldx + t];
      y[c * a.ldy + r] = first ? total : y[c * a.ldy + r] + total;
    }
  }
}

/// All rows of x against NROWS rows of w.
template <class Load, int NROWS>
static void stripe(const RowsGemm& a, const typename Load::Type* w, long ldw, float* y, long k0,
                   long k1, bool first) {
  const float* x = a.x + k0;
  long m = 0;
  for (; m + COLS <= a.m; m += COLS) {
    block<Load, NROWS, COLS>(a, w, ldw, x + m * a.ldx, y + m * a.ldy, k1 - k0, first);
  }
  for (; m + 2 <= a.m; m += 2) {
    block<Load, NROWS, 2>(a, w, ldw, x + m * a.ldx, y + m * a.ldy, k1 - k0, first);
  }
  for (; m < a.m; ++m) {
    block<Load, NROWS, 1>(a, w, ldw, x + m * a.ldx, y + m * a.ldy, k1 - k0, first);
  }
}

/// Meanwhile what `next` points to is on its way from memory.
template <class Load>
static void widen(const typename Load::Type* w, const typename Load::Type* next, long count,
                  float* wide) {
  long k = 0;
  for (; k + LANES <= count; k += LANES) {
    __builtin_prefetch(next + k, 0, 2);
    const VecF v = Load::load(w + k);
    __builtin_memcpy(wide + k, &v, sizeof v);
  }
  for (; k < count; ++k) wide[k] = Load::one(w + k);
}

template <class Load>
static void run(const RowsGemm& a, long n_begin, long n_end) {
  const auto* w = static_cast<const typename Load::Type*>(a.w);
  if (a.m <= 2 * COLS) {
    long n = n_begin;
    for (; n + ROWS <= n_end; n += ROWS) {
      stripe<Load, ROWS>(a, w + n * a.ldw, a.ldw, a.y + n, 0, a.k, true);
    }
    for (; n < n_end; ++n) stripe<Load, 1>(a, w + n * a.ldw, a.ldw, a.y + n, 0, a.k, true);
    return;
  }
  alignas(64) float panel[ROWS * CUT];
  for (long k0 = 0; k0 < a.k; k0 += CUT) {
    const long k1 = k0 + CUT < a.k ? k0 + CUT : a.k;
    long n = n_begin;
    for (; n + ROWS <= n_end; n += ROWS) {
      for (int r = 0; r < ROWS; ++r) {
        const auto* row = w + (n + r) * a.ldw + k0;
        const auto* next = n + 2 * ROWS <= n_end ? row + ROWS * a.ldw : row;
        widen<Load>(row, next, k1 - k0, panel + r * CUT);
      }
      stripe<LoadF32, ROWS>(a, panel, CUT, a.y + n, k0, k1, k0 == 0);
    }
    for (; n < n_end; ++n) {
      stripe<Load, 1>(a, w + n * a.ldw + k0, a.ldw, a.y + n, k0, k1, k0 == 0);
    }
  }
}

static void rows_gemm(const RowsGemm& a, std::int64_t n_begin, std::int64_t n_end) {
  switch (a.type) {
    case WeightType::f32:
      return run<LoadF32>(a, n_begin, n_end);
    case WeightType::f16:
      return run<LoadF16>(a, n_begin, n_end);
    case WeightType::bf16:
      return run<LoadBf16>(a, n_begin, n_end);
  }
}
