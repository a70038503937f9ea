// Body of transpose_panels, for table_body.h, with the vectors of pack_body.h and
// elementwise_body.h.

/// LANES values of column k of a panel, from its row `first` on.
template <PackedType TYPE>
[[gnu::always_inline]] static inline VecF dequantised(const PackedShape& s,
                                                      const unsigned char* panel, long k,
                                                      long first) {
  if constexpr (TYPE == PackedType::f32) {
    return load_values(reinterpret_cast<const float*>(panel) + k * panel_width + first);
  } else {
    constexpr long columns = TYPE == PackedType::bf16 ? 2 : TYPE == PackedType::int8 ? 4 : 8;
    const long line = (k / columns * panel_width + first) * 4;
    const VecU words = load_unaligned<sizeof(VecU), VecU>(panel + s.scales_before(k) + line);
    if constexpr (TYPE == PackedType::bf16) {
      return (VecF)(k % 2 == 0 ? words << 16 : words & 0xFFFF0000U);
    } else {
      constexpr unsigned mask = TYPE == PackedType::int8 ? 255 : 15;
      constexpr int zero_point = TYPE == PackedType::int8 ? 128 : 8;
      const unsigned c = (unsigned)(k % columns), shift = c % 4 * 8 + c / 4 * 4;
      const VecI code = (VecI)(words >> shift & mask) - zero_point;
      const unsigned char* scales = panel + s.scales_at(k / s.group);
      return __builtin_convertvector(code, VecF) *
             LoadBf16::load(reinterpret_cast<const unsigned short*>(scales) + first);
    }
  }
}

/// Transposes in blocks of LANES x LANES values. Columns of a panel of w are read sequentially.
template <PackedType TYPE>
static void transpose_panels_of(const TransposePanels& a) {
  const PackedShape s = a.shape;
  const bool narrow = TYPE == PackedType::bf16 && a.type == PackedType::bf16;
  const long panel_bytes = s.panel_bytes(), out_words = narrow ? (s.n + 1) / 2 : s.n;
  const auto* w = static_cast<const unsigned char*>(a.w);
  for (long first_n = 0; first_n < s.n; first_n += panel_width, w += panel_bytes) {
    for (long p = a.begin; p < a.end; ++p) {
      unsigned* panel = static_cast<unsigned*>(a.out) + (p - a.begin) * out_words * panel_width;
      for (long column = 0; column < panel_width; column += LANES) {
        for (long row = 0; row < panel_width; row += LANES) {
          const long k = p * panel_width + column, n = first_n + row;
          VecU rows[LANES];
          MOEBIUS_UNROLL
          for (int i = 0; i < LANES; ++i) {
            rows[i] = k + i < s.k ? (VecU)dequantised<TYPE>(s, w, k + i, row) : VecU{};
          }
          transpose<1>(rows);
          const long count = s.n - n < LANES ? s.n - n : LANES;
          if (narrow) {
            for (long i = 0; i < count; i += 2) {  // beyond N a panel holds zeros
              const VecU pair = rows[i] >> 16 | (rows[i + 1] & 0xFFFF0000U);
              store_words(panel + (n + i) / 2 * panel_width + column, LANES, pair);
            }
          } else {
            for (long i = 0; i < count; ++i) {
              store_words(panel + (n + i) * panel_width + column, LANES, rows[i]);
            }
          }
        }
      }
    }
  }
}

static void transpose_panels(const TransposePanels& a) {
  switch (a.shape.type) {
    case PackedType::f32:
      return transpose_panels_of<PackedType::f32>(a);
    case PackedType::bf16:
      return transpose_panels_of<PackedType::bf16>(a);
    case PackedType::int8:
      return transpose_panels_of<PackedType::int8>(a);
    case PackedType::int4:
      return transpose_panels_of<PackedType::int4>(a);
  }
}
