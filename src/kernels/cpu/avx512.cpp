// AVX-512 (F, BW, VL, DQ). 32 registers: 4 x 6 sums, 4 widened pieces of w, one of x.
#include <immintrin.h>

#include "kernels/cpu/tables.h"

namespace moebius::kernels::avx512 {

typedef float VecF __attribute__((vector_size(64)));
typedef unsigned VecU __attribute__((vector_size(64)));
typedef unsigned short VecH __attribute__((vector_size(32)));
static constexpr int LANES = 16, ROWS = 4, COLS = 6, CUT = 2048;

static VecF widen_f16(VecH h) {
  return (VecF)_mm512_maskz_cvtph_ps(0xFFFF, (__m256i)h);
}

static float sum_of(VecF v) {
  const __m256 eights = _mm256_add_ps(_mm512_maskz_extractf32x8_ps(0xFF, (__m512)v, 0),
                                      _mm512_maskz_extractf32x8_ps(0xFF, (__m512)v, 1));
  const __m128 fours = _mm_add_ps(_mm256_castps256_ps128(eights), _mm256_extractf128_ps(eights, 1));
  const __m128 twos = _mm_add_ps(fours, _mm_movehl_ps(fours, fours));
  return _mm_cvtss_f32(_mm_add_ss(twos, _mm_movehdup_ps(twos)));
}

#include "kernels/cpu/rows_gemm_body.h"

#include "kernels/cpu/avx512_vectors.h"

static constexpr int TILE_F32 = 12, TILE_BF16 = 8, TILE_INT = 4;

/// Pairs one after the other, in f32.
static inline F16 dot_bf16(F16 acc, B64 w, B64 x) {
  const auto first = [](B64 v) { return (F16)((VecU)v << 16); };
  const auto second = [](B64 v) { return (F16)((VecU)v & 0xFFFF0000U); };
  return _mm512_fmadd_ps(second(w), second(x), _mm512_fmadd_ps(first(w), first(x), acc));
}
/// Products of neighbours are added in 16 bits: with w below 16 they fit.
static inline I16 dot_u4(I16 acc, B64 w, B64 x) {
  constexpr __mmask32 all = 0xFFFFFFFF;
  const __m512i pairs = _mm512_maskz_maddubs_epi16(all, w, x);
  return _mm512_add_epi32(acc, _mm512_maskz_madd_epi16(0xFFFF, pairs, _mm512_set1_epi16(1)));
}
/// So do those of the lower seven bits, and of the highest.
static inline I16 dot_u8(I16 acc, B64 w, B64 x) {
  const __m512i seven = _mm512_set1_epi8(0x7F);
  return dot_u4(dot_u4(acc, w & seven, x), w & ~seven, x);
}

#include "kernels/cpu/elementwise_body.h"
#include "kernels/cpu/limits_body.h"
#include "kernels/cpu/panel_body.h"

const KernelTable table{"avx512",      rows_gemm,     {TILE_F32, TILE_BF16, TILE_INT, TILE_INT},
                        prepare,       interleave,    tile,
                        activate,      add_scaled,    softmax,
                        decay_and_add, merge_softmax, norm,
                        rotate,        peak,          read};

}  // namespace moebius::kernels::avx512
