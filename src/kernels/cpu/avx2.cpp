// AVX2 with FMA and F16C.
#include <immintrin.h>

#include "kernels/cpu/tables.h"
#include "kernels/cpu/unroll.h"

namespace moebius::kernels::avx2 {

typedef float VecF __attribute__((vector_size(32)));
typedef unsigned VecU __attribute__((vector_size(32)));
typedef unsigned short VecH __attribute__((vector_size(16)));
static constexpr int LANES = 8;

static VecF widen_f16(VecH h) {
  return (VecF)_mm256_cvtph_ps((__m128i)h);
}

static VecU widen(VecH h) {
  return (VecU)_mm256_cvtepu16_epi32((__m128i)h);
}

static float sum_of(VecF v) {
  const __m128 fours =
      _mm_add_ps(_mm256_castps256_ps128((__m256)v), _mm256_extractf128_ps((__m256)v, 1));
  const __m128 twos = _mm_add_ps(fours, _mm_movehl_ps(fours, fours));
  return _mm_cvtss_f32(_mm_add_ss(twos, _mm_movehdup_ps(twos)));
}

static VecF sqrt_of(VecF x) {
  return (VecF)_mm256_sqrt_ps((__m256)x);
}

/// In two factors, since 2^n alone may overflow.
static VecF times_two_to(VecF y, VecF n) {
  const __m256i power = _mm256_cvtps_epi32((__m256)n), half = _mm256_srai_epi32(power, 1);
  const auto two_to = [](__m256i p) {
    return (VecF)_mm256_slli_epi32(_mm256_add_epi32(p, _mm256_set1_epi32(127)), 23);
  };
  return y * two_to(half) * two_to(_mm256_sub_epi32(power, half));
}
static VecF at_least(float low, VecF x) {
  return (VecF)_mm256_max_ps(_mm256_set1_ps(low), (__m256)x);
}
static VecF at_most(float high, VecF x) {
  return (VecF)_mm256_min_ps(_mm256_set1_ps(high), (__m256)x);
}

struct F16 {
  __m256 low, high;
};
struct I16 {
  __m256i low, high;
};
using B64 = I16;
/// An optimisation barrier: the compiler takes x as used and changed.
static inline void keep(F16& x) {
  asm volatile("" : "+x"(x.low), "+x"(x.high));
}
static inline void keep(I16& x) {
  asm volatile("" : "+x"(x.low), "+x"(x.high));
}
static constexpr int CHAINS = 6;
static constexpr int TILE_F32 = 3, TILE_BF16 = 3, TILE_INT8 = 2, TILE_INT4 = 2;
static constexpr int FEW_QUERIES = 4;

static inline F16 load_f32(const float* from) {
  return {_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8)};
}
static inline F16 load_bf16(const unsigned short* from) {
  const auto widen = [](const unsigned short* half) {
    const __m256i words = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)half));
    return _mm256_castsi256_ps(_mm256_slli_epi32(words, 16));
  };
  return {widen(from), widen(from + 8)};
}
static inline B64 load_bytes(const unsigned char* from) {
  return {_mm256_loadu_si256((const __m256i*)from),
          _mm256_loadu_si256((const __m256i*)(from + 32))};
}
static inline F16 splat_f32(float x) {
  return {_mm256_set1_ps(x), _mm256_set1_ps(x)};
}
static inline I16 splat_i32(int x) {
  return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)};
}
static inline B64 splat_bytes(const void* from) {
  int word;
  __builtin_memcpy(&word, from, 4);
  return splat_i32(word);
}
static inline void store(float* to, F16 x) {
  _mm256_storeu_ps(to, x.low);
  _mm256_storeu_ps(to + 8, x.high);
}
/// A non-temporal store of 32 bytes.
static inline void store_non_temporal(void* to, const void* from) {
  _mm256_stream_si256((__m256i*)to, _mm256_loadu_si256((const __m256i*)from));
}
static inline B64 low_nibbles(B64 x) {
  const __m256i mask = _mm256_set1_epi8(15);
  return {_mm256_and_si256(x.low, mask), _mm256_and_si256(x.high, mask)};
}
static inline B64 high_nibbles(B64 x) {
  return low_nibbles({_mm256_srli_epi16(x.low, 4), _mm256_srli_epi16(x.high, 4)});
}
static inline F16 fma(F16 a, F16 b, F16 c) {
  return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}
static inline F16 mul(F16 a, F16 b) {
  return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)};
}
static inline F16 to_float(I16 x) {
  return {_mm256_cvtepi32_ps(x.low), _mm256_cvtepi32_ps(x.high)};
}

/// The two products of each pair in sequence, in f32.
static inline F16 dot_bf16(F16 acc, B64 w, B64 x) {
  const auto step = [](__m256 y, __m256i a, __m256i b) {
    const __m256i high = _mm256_set1_epi32((int)0xFFFF0000);
    y = _mm256_fmadd_ps(_mm256_castsi256_ps(_mm256_slli_epi32(a, 16)),
                        _mm256_castsi256_ps(_mm256_slli_epi32(b, 16)), y);
    return _mm256_fmadd_ps(_mm256_castsi256_ps(_mm256_and_si256(a, high)),
                           _mm256_castsi256_ps(_mm256_and_si256(b, high)), y);
  };
  return {step(acc.low, w.low, x.low), step(acc.high, w.high, x.high)};
}
/// Products of neighbours are added in 16 bits, which does not saturate with w below 16.
static inline I16 dot_u4(I16 acc, B64 w, B64 x) {
  const auto step = [](__m256i sum, __m256i a, __m256i b) {
    const __m256i pairs = _mm256_maddubs_epi16(a, b);
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  };
  return {step(acc.low, w.low, x.low), step(acc.high, w.high, x.high)};
}
/// Nor do products with the low seven bits of w, and those with its highest bit.
static inline I16 dot_u8(I16 acc, B64 w, B64 x) {
  const __m256i seven = _mm256_set1_epi8(0x7F);
  acc = dot_u4(acc, {_mm256_and_si256(w.low, seven), _mm256_and_si256(w.high, seven)}, x);
  return dot_u4(acc, {_mm256_andnot_si256(seven, w.low), _mm256_andnot_si256(seven, w.high)}, x);
}

#include "kernels/cpu/table_body.h"

const KernelTable table = table_named("avx2");

}  // namespace moebius::kernels::avx2
