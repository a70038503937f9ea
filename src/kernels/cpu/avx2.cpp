// AVX2 with FMA and F16C. 16 registers: 2 x 5 sums, 2 widened pieces of w, one of x.
#include <immintrin.h>

#include "kernels/cpu/tables.h"

namespace moebius::kernels::avx2 {

typedef float VecF __attribute__((vector_size(32)));
typedef unsigned VecU __attribute__((vector_size(32)));
typedef unsigned short VecH __attribute__((vector_size(16)));
static constexpr int LANES = 8, ROWS = 2, COLS = 5;

static VecF widen_f16(VecH h) {
  return (VecF)_mm256_cvtph_ps((__m128i)h);
}

#include "kernels/cpu/rows_gemm_body.h"

const KernelTable table{"avx2", rows_gemm};

}  // namespace moebius::kernels::avx2
