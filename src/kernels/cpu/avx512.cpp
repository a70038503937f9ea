// AVX-512 (F, BW, VL). 32 registers: 4 x 6 sums, 4 widened pieces of w, one of x.
#include <immintrin.h>

#include "kernels/cpu/tables.h"

namespace moebius::kernels::avx512 {

typedef float VecF __attribute__((vector_size(64)));
typedef unsigned VecU __attribute__((vector_size(64)));
typedef unsigned short VecH __attribute__((vector_size(32)));
static constexpr int LANES = 16, ROWS = 4, COLS = 6;

static VecF widen_f16(VecH h) {
  return (VecF)_mm512_maskz_cvtph_ps(0xFFFF, (__m256i)h);
}

#include "kernels/cpu/rows_gemm_body.h"

const KernelTable table{"avx512", rows_gemm};

}  // namespace moebius::kernels::avx512
