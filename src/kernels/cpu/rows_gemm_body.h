// Body of rows_gemm, included once by the file of each instruction set inside its own namespace,
// after it has defined: VecF (float vector), VecU (uint32 vector of equal length), VecH (uint16
// vector of half its bytes), widen_f16(VecH), LANES, ROWS (rows of w in a block), COLS (rows of x
// in a block). No inline function from elsewhere is called here, not even of the standard library:
// the linker might keep this file's copy for the whole program.
//
// A block keeps ROWS x COLS sums in registers and walks K once; each widened piece of w serves
// COLS products, each piece of x ROWS. K is cut so that the rows of x stay in the second-level
// cache.

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

/// Adds to y[c][r], c < COLS rows of x, r < NROWS rows of w, the products over [k0, k1).
template <class Load, int NROWS, int NCOLS>
static void block(const RowsGemm& a, const typename Load::Type* w, const float* x, float* y,
                  long k0, long k1, bool first) {
  VecF sum[NROWS][NCOLS];
  for (int r = 0; r < NROWS; ++r) {
    for (int c = 0; c < NCOLS; ++c) sum[r][c] = VecF{};
  }
  long k = k0;
  for (; k + LANES <= k1; k += LANES) {
    VecF wide[NROWS];
    for (int r = 0; r < NROWS; ++r) wide[r] = Load::load(w + r * a.ldw + k);
    for (int c = 0; c < NCOLS; ++c) {
      const VecF xc = load_unaligned<sizeof(VecF), VecF>(x + c * a.ldx + k);
      for (int r = 0; r < NROWS; ++r) sum[r][c] += wide[r] * xc;
    }
  }
  for (int r = 0; r < NROWS; ++r) {
    for (int c = 0; c < NCOLS; ++c) {
      float total = first ? 0.0f : y[c * a.ldy + r];
      for (int lane = 0; lane < LANES; ++lane) total += sum[r][c][lane];
      for (long t = k; t < k1; ++t) total += Load::one(w + r * a.ldw + t) * x[c * a.ldx + t];
      y[c * a.ldy + r] = total;
    }
  }
}

/// All rows of x against NROWS rows of w.
template <class Load, int NROWS>
static void stripe(const RowsGemm& a, const typename Load::Type* w, float* y, long k0, long k1) {
  const bool first = k0 == 0;
  long m = 0;
  for (; m + COLS <= a.m; m += COLS) {
    block<Load, NROWS, COLS>(a, w, a.x + m * a.ldx, y + m * a.ldy, k0, k1, first);
  }
  for (; m + 2 <= a.m; m += 2) {
    block<Load, NROWS, 2>(a, w, a.x + m * a.ldx, y + m * a.ldy, k0, k1, first);
  }
  for (; m < a.m; ++m) {
    block<Load, NROWS, 1>(a, w, a.x + m * a.ldx, y + m * a.ldy, k0, k1, first);
  }
}

template <class Load>
static void run(const RowsGemm& a, long n_begin, long n_end) {
  const long cut = a.m > 2 * COLS ? 1024 : a.k;
  for (long k0 = 0; k0 < a.k; k0 += cut) {
    const long k1 = k0 + cut < a.k ? k0 + cut : a.k;
    const auto* w = static_cast<const typename Load::Type*>(a.w);
    long n = n_begin;
    for (; n + ROWS <= n_end; n += ROWS) stripe<Load, ROWS>(a, w + n * a.ldw, a.y + n, k0, k1);
    for (; n < n_end; ++n) stripe<Load, 1>(a, w + n * a.ldw, a.y + n, k0, k1);
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
