// AVX-512 with VNNI and BF16.
#include <immintrin.h>

#include "kernels/cpu/tables.h"
#include "kernels/cpu/unroll.h"

namespace moebius::kernels::avx512bf16 {

#include "kernels/cpu/avx512_vectors.h"

static constexpr int TILE_F32 = 12, TILE_BF16 = 12, TILE_INT8 = 8, TILE_INT4 = 6;
static constexpr int FEW_QUERIES = 8;

/// Like the dot product, this flushes denormals to zero.
static inline VecH narrow_bf16(VecF x) {
  return (VecH)_mm512_cvtneps_pbh((__m512)x);
}
static inline F16 dot_bf16(F16 acc, B64 w, B64 x) {
  return _mm512_dpbf16_ps(acc, (__m512bh)w, (__m512bh)x);
}
static inline I16 dot_u8(I16 acc, B64 w, B64 x) {
  return _mm512_dpbusd_epi32(acc, w, x);
}
static inline I16 dot_u4(I16 acc, B64 w, B64 x) {
  return _mm512_dpbusd_epi32(acc, w, x);
}

#include "kernels/cpu/table_body.h"

const KernelTable table = table_named("avx512bf16");

}  // namespace moebius::kernels::avx512bf16
