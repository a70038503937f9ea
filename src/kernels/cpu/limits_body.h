// Body of the kernels that measure peak arithmetic and bandwidth, for table_body.h, with the
// vectors of panel_body.h; the instruction set has also defined `keep` and CHAINS, the number of
// independent accumulators that hides the latency of an instruction.

template <class V, class Keep, class Step>
static void run_chains(std::int64_t rounds, V start, Keep keep_both, Step step) {
  V sums[CHAINS];
  MOEBIUS_UNROLL
  for (int c = 0; c < CHAINS; ++c) sums[c] = start;
  for (std::int64_t r = 0; r < rounds; ++r) {
    MOEBIUS_UNROLL
    for (int c = 0; c < CHAINS; ++c) {
      sums[c] = step(sums[c]);
      keep_both(sums[c]);
    }
  }
}

static std::int64_t peak(PackedType type, std::int64_t rounds) {
  // Keeps every instruction of a dot product in the loop.
  I16 w = splat_i32(0x01010101);
  const I16 x = w;
  const auto keep_both = [&](auto& sum) {
    keep(sum);
    keep(w);
  };
  std::int64_t products = 1;
  if (type == PackedType::f32) {
    const F16 half = splat_f32(0.5f);
    run_chains(rounds, splat_f32(1), keep_both, [&](F16 sum) { return fma(sum, half, half); });
  } else if (type == PackedType::bf16) {
    products = 2;
    run_chains(rounds, splat_f32(1), keep_both, [&](F16 sum) { return dot_bf16(sum, w, x); });
  } else {
    products = 4;
    run_chains(rounds, splat_i32(1), keep_both, [&](I16 sum) {
      return type == PackedType::int8 ? dot_u8(sum, w, x) : dot_u4(sum, w, x);
    });
  }
  return rounds * CHAINS * 16 * products * 2;
}

static std::uint64_t read(const void* from, std::int64_t bytes) {
  typedef std::uint64_t Words __attribute__((vector_size(sizeof(VecF))));
  constexpr std::int64_t width = sizeof(VecF), parts = 4;
  const auto* at = static_cast<const unsigned char*>(from);
  Words sums[parts] = {};
  std::int64_t i = 0;
  for (; i + parts * width <= bytes; i += parts * width) {
    MOEBIUS_UNROLL
    for (int p = 0; p < parts; ++p) sums[p] += load_unaligned<width, Words>(at + i + p * width);
  }
  for (; i + width <= bytes; i += width) sums[0] += load_unaligned<width, Words>(at + i);
  const Words all = sums[0] + sums[1] + sums[2] + sums[3];
  std::uint64_t total = 0;
  for (std::size_t lane = 0; lane < width / 8; ++lane) total += all[lane];
  return total;
}
