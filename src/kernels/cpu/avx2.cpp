// AVX2 with FMA and F16C. 16 registers: 2 x 5 sums, 2 widened pieces of w, one of x.
#include <immintrin.h>

#include "kernels/cpu/tables.h"

namespace moebius::kernels::avx2 {

typedef float VecF __attribute__((vector_size(32)));
typedef unsigned VecU __attribute__((vector_size(32)));
typedef unsigned short VecH __attribute__((vector_size(16)));
static constexpr int LANES = 8, ROWS = 2, COLS = 5, CUT = 2048;

static VecF widen_f16(VecH h) {
  return (VecF)_mm256_cvtph_ps((__m128i)h);
}

static float sum_of(VecF v) {
  const __m128 fours =
      _mm_add_ps(_mm256_castps256_ps128((__m256)v), _mm256_extractf128_ps((__m256)v, 1));
  const __m128 twos = _mm_add_ps(fours, _mm_movehl_ps(fours, fours));
  return _mm_cvtss_f32(_mm_add_ss(twos, _mm_movehdup_ps(twos)));
}

#include "kernels/cpu/rows_gemm_body.h"

const KernelTable table{"avx2", rows_gemm};

}  // namespace moebius::kernels::avx2
