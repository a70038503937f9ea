// AVX-512 (F, BW, VL, DQ).
#include <immintrin.h>

#include "kernels/cpu/tables.h"
#include "kernels/cpu/unroll.h"

namespace moebius::kernels::avx512 {

#include "kernels/cpu/avx512_vectors.h"

static constexpr int TILE_F32 = 12, TILE_BF16 = 8, TILE_INT8 = 4, TILE_INT4 = 4;
static constexpr int FEW_QUERIES = 8;

/// The two products of each pair in sequence, in f32.
static inline F16 dot_bf16(F16 acc, B64 w, B64 x) {
  const auto first = [](B64 v) { return (F16)((VecU)v << 16); };
  const auto second = [](B64 v) { return (F16)((VecU)v & 0xFFFF0000U); };
  return _mm512_fmadd_ps(second(w), second(x), _mm512_fmadd_ps(first(w), first(x), acc));
}
/// Products of neighbours are added in 16 bits, which does not saturate with w below 16.
static inline I16 dot_u4(I16 acc, B64 w, B64 x) {
  constexpr __mmask32 all = 0xFFFFFFFF;
  const __m512i pairs = _mm512_maskz_maddubs_epi16(all, w, x);
  return _mm512_add_epi32(acc, _mm512_maskz_madd_epi16(0xFFFF, pairs, _mm512_set1_epi16(1)));
}
/// Nor do products with the low seven bits of w, and those with its highest bit.
static inline I16 dot_u8(I16 acc, B64 w, B64 x) {
  const __m512i seven = _mm512_set1_epi8(0x7F);
  return dot_u4(dot_u4(acc, w & seven, x), w & ~seven, x);
}

#include "kernels/cpu/table_body.h"

const KernelTable table = table_named("avx512");

}  // namespace moebius::kernels::avx512
