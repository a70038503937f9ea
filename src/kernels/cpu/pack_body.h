// Body of pack_lanes, for table_body.h. The instruction set has defined VecF (float vector), VecU
// (uint32 vector of equal length), VecH (uint16 vector of half its bytes), widen_f16(VecH) to
// floats, widen(VecH) to integers, LANES.

template <int BYTES, class V, class P>
static V load_unaligned(const P* from) {
  V v;
  __builtin_memcpy(&v, from, BYTES);
  return v;
}

/// Members are always inlined: a class's functions that are not are weak symbols, of which the
/// linker might take one instruction set's for another's.
struct LoadF32 {
  using Type = float;
  [[gnu::always_inline]] static VecF load(const Type* w) {
    return load_unaligned<sizeof(VecF), VecF>(w);
  }
};

struct LoadBf16 {
  using Type = unsigned short;
  [[gnu::always_inline]] static VecF load(const Type* w) {
    return (VecF)(widen(load_unaligned<sizeof(VecH), VecH>(w)) << 16);
  }
};

struct LoadF16 {
  using Type = unsigned short;
  [[gnu::always_inline]] static VecF load(const Type* w) {
    return widen_f16(load_unaligned<sizeof(VecH), VecH>(w));
  }
};

/// To nearest, ties to even, where the instruction set has no function of its own for that.
template <class F>
static VecH narrow_bf16(F x) {
  const VecU bits = (VecU)x, rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
  const VecU nan = bits >> 16 | 0x40;
  return __builtin_convertvector((bits & 0x7FFFFFFF) > 0x7F800000 ? nan : rounded, VecH);
}

struct StoreF32 {
  using Type = float;
  using Vec = VecF;
  [[gnu::always_inline]] static Vec narrow(VecF x) { return x; }
};
struct StoreBf16 {
  using Type = unsigned short;
  using Vec = VecH;
  [[gnu::always_inline]] static Vec narrow(VecF x) { return narrow_bf16(x); }
};

template <int... C>
struct LaneNumbers {};
template <int N, int... C>
struct CountLanes : CountLanes<N - 1, N - 1, C...> {};
template <int... C>
struct CountLanes<0, C...> {
  using Type = LaneNumbers<C...>;
};

/// Converts stored values to the 4-byte words of a layout: each value to f32 ...
template <class Load>
struct Values {
  using Type = typename Load::Type;
  static constexpr long step = 1;
  static VecU along(const Type* row) { return (VecU)Load::load(row); }
  static VecU down(const Type* row, const Type*) { return along(row); }
};
/// ... or pairs of bf16, neighbours along K.
struct Pairs {
  using Type = unsigned short;
  static constexpr long step = 2;
  static VecU along(const Type* row) { return load_unaligned<sizeof(VecU), VecU>(row); }
  static VecU down(const Type* first, const Type* second) {
    return interleaved(load_unaligned<sizeof(VecH), VecH>(first),
                       load_unaligned<sizeof(VecH), VecH>(second),
                       typename CountLanes<2 * LANES>::Type{});
  }

 private:
  template <int... C>
  static VecU interleaved(VecH a, VecH b, LaneNumbers<C...>) {
    return (VecU)__builtin_shufflevector(a, b, (C % 2 == 0 ? C / 2 : LANES + C / 2)...);
  }
};

/// The first `count` values of a row, padded with zeros so that whole vectors can be loaded.
template <class T>
struct Padded {
  T values[2 * LANES] = {};
  Padded(const T* row, long count) {
    for (long i = 0; i < count; ++i) values[i] = row[i];
  }
};

/// Stores the first `count` words, or all.
static void store_words(unsigned* at, long count, VecU words) {
  if (count >= LANES) {
    __builtin_memcpy(at, &words, sizeof words);
  } else {
    for (long i = 0; i < count; ++i) at[i] = words[i];
  }
}

/// Exchanges lanes of `a` whose number has bit H with lanes of `b` whose number lacks it.
template <int H, int... C>
static void exchange(VecU& a, VecU& b, LaneNumbers<C...>) {
  const VecU first = __builtin_shufflevector(a, b, ((C & H) == 0 ? C : LANES + C - H)...);
  b = __builtin_shufflevector(a, b, ((C & H) == 0 ? C + H : LANES + C)...);
  a = first;
}

template <int H>
static void transpose(VecU (&rows)[LANES]) {
  MOEBIUS_UNROLL
  for (int i = 0; i < LANES; ++i) {
    if ((i & H) == 0) exchange<H>(rows[i], rows[i + H], typename CountLanes<LANES>::Type{});
  }
  if constexpr (2 * H < LANES) transpose<2 * H>(rows);
}

/// Packs LANES lanes of a block, or as many as it has, from `first` on; lanes are rows.
template <class Words>
static void pack_rows(const PackLanes& a, long block, long first, unsigned* out,
                      const unsigned* end) {
  using T = typename Words::Type;
  constexpr long columns = LANES * Words::step;
  const T *rows[LANES], *later[LANES];  // of the next block, to prefetch
  for (long i = 0; i < LANES; ++i) {
    const auto row = [&](long lane) {
      return static_cast<const T*>(a.from) + (a.ids != nullptr ? a.ids[lane] : lane) * a.ld;
    };
    const long lane = block * a.width + first + i,
               next = lane + (a.width < LANES ? a.width : LANES);
    rows[i] = first + i < a.width && lane < a.lanes ? row(lane) : nullptr;
    later[i] = row(next < a.lanes ? next : a.lanes - 1);
  }
  out += first;
  for (long k = 0; k < a.k; k += columns) {
    const long left = a.k - k;
    VecU words[LANES];
    MOEBIUS_UNROLL
    for (int i = 0; i < LANES; ++i) {
      __builtin_prefetch(later[i] + k);
      words[i] = rows[i] == nullptr ? VecU{}
                 : left >= columns  ? Words::along(rows[i] + k)
                                    : Words::along(Padded<T>(rows[i] + k, left).values);
    }
    transpose<1>(words);
    if (left >= columns) {
      MOEBIUS_UNROLL
      for (int i = 0; i < LANES; ++i, out += a.width) store_words(out, end - out, words[i]);
    } else {
      const long count = (left + Words::step - 1) / Words::step;
      for (long i = 0; i < count; ++i, out += a.width) store_words(out, end - out, words[i]);
    }
  }
}

/// Packs all blocks; lanes are columns. Goes row by row, so that each row is read sequentially.
template <class Words>
static void pack_columns(const PackLanes& a, long block_words) {
  using T = typename Words::Type;
  constexpr long distance = 16, line = 64 / sizeof(T);  // of the software prefetch, in rows
  // Local copies: the stores below may alias `a`.
  const long lanes = a.lanes, width = a.width, blocks = a.blocks, k_end = a.k;
  const T* const from = static_cast<const T*>(a.from);
  const std::int32_t* const ids = a.ids;
  const long ld = a.ld;
  const auto row = [=](long k) { return from + (ids != nullptr ? ids[k] : k) * ld; };
  const T zeros[2 * LANES] = {};
  // Blocks that can be read in whole vectors.
  const long vectors = (width + LANES - 1) / LANES * LANES, rest = vectors - width;
  const long readable = (a.readable - rest) / width, filled = lanes / width;
  const long whole = readable < filled ? readable : filled;
  auto* out = static_cast<unsigned*>(a.out);
  const unsigned* const end = out + block_words;
  for (long k = 0; k < k_end; k += Words::step, out += width) {
    for (long i = 0; i < Words::step && k + distance + i < k_end; ++i) {
      const T* next = row(k + distance + i);
      for (long lane = 0; lane < lanes; lane += line) __builtin_prefetch(next + lane);
    }
    const bool pair = Words::step > 1 && k + 1 < k_end;
    const T *one = row(k), *two = pair ? row(k + 1) : one;
    // A whole vector may write beyond the words of a row, which the next row then overwrites.
    const long fast = end - out >= vectors && pair == (Words::step > 1) ? whole : 0;
    unsigned* to = out;
    long block = 0;
    for (; block < fast; ++block, to += block_words) {
      for (long first = 0; first < width; first += LANES) {
        const long lane = block * width + first;
        const VecU words = Words::down(one + lane, two + lane);
        __builtin_memcpy(to + first, &words, sizeof words);
      }
    }
    for (; block < blocks; ++block, to += block_words) {
      for (long first = 0; first < width; first += LANES) {
        const long lane = block * width + first, room = width - first;
        const long left = lanes - lane < room ? lanes - lane : room;
        const Padded<T> a_part(left > 0 ? one + lane : zeros, left);
        const Padded<T> b_part(pair && left > 0 ? two + lane : zeros, pair ? left : 0);
        store_words(to + first, room, Words::down(a_part.values, b_part.values));
      }
    }
  }
}

template <class Words>
static void pack_words(const PackLanes& a) {
  const long block_words = (a.k + Words::step - 1) / Words::step * a.width;
  if (a.transposed) return pack_columns<Words>(a, block_words);
  auto* out = static_cast<unsigned*>(a.out);
  for (long block = 0; block < a.blocks; ++block, out += block_words) {
    for (long first = 0; first < a.width; first += LANES) {
      pack_rows<Words>(a, block, first, out, out + block_words);
    }
  }
}

static void pack_lanes(const PackLanes& a) {
  static_assert(TILE_F32 <= LANES && panel_width % LANES == 0);
  if (a.type == PackedType::bf16) return pack_words<Pairs>(a);
  switch (a.stored) {
    case ValueType::f32:
      return pack_words<Values<LoadF32>>(a);
    case ValueType::f16:
      return pack_words<Values<LoadF16>>(a);
    case ValueType::bf16:
      return pack_words<Values<LoadBf16>>(a);
  }
}
