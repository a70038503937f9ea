// Vectors of 64 bytes, for table_body.h; included inside the namespace of an instruction set.
// Masked intrinsics and operators replace intrinsics that start from an undefined register, of
// which GCC warns.

typedef float VecF __attribute__((vector_size(64)));
typedef unsigned VecU __attribute__((vector_size(64)));
typedef unsigned short VecH __attribute__((vector_size(32)));
static constexpr int LANES = 16;

static VecF widen_f16(VecH h) {
  return (VecF)_mm512_maskz_cvtph_ps(0xFFFF, (__m256i)h);
}

static VecU widen(VecH h) {
  return (VecU)_mm512_maskz_cvtepu16_epi32(0xFFFF, (__m256i)h);
}

static float sum_of(VecF v) {
  const __m256 eights = _mm256_add_ps(_mm512_maskz_extractf32x8_ps(0xFF, (__m512)v, 0),
                                      _mm512_maskz_extractf32x8_ps(0xFF, (__m512)v, 1));
  const __m128 fours = _mm_add_ps(_mm256_castps256_ps128(eights), _mm256_extractf128_ps(eights, 1));
  const __m128 twos = _mm_add_ps(fours, _mm_movehl_ps(fours, fours));
  return _mm_cvtss_f32(_mm_add_ss(twos, _mm_movehdup_ps(twos)));
}

static VecF sqrt_of(VecF x) {
  return (VecF)_mm512_maskz_sqrt_ps(0xFFFF, (__m512)x);
}

static VecF times_two_to(VecF y, VecF n) {
  return (VecF)_mm512_maskz_scalef_ps(0xFFFF, (__m512)y, (__m512)n);
}
static VecF at_least(float low, VecF x) {
  return (VecF)_mm512_maskz_max_ps(0xFFFF, _mm512_set1_ps(low), (__m512)x);
}
static VecF at_most(float high, VecF x) {
  return (VecF)_mm512_maskz_min_ps(0xFFFF, _mm512_set1_ps(high), (__m512)x);
}

using F16 = __m512;
using I16 = __m512i;
using B64 = __m512i;
typedef int Int16 __attribute__((vector_size(64)));
typedef unsigned short UShort32 __attribute__((vector_size(64)));

static inline F16 load_f32(const float* from) {
  return _mm512_loadu_ps(from);
}
static inline F16 load_bf16(const unsigned short* from) {
  const VecH half = (VecH)_mm256_loadu_si256((const __m256i*)from);
  return (F16)(widen(half) << 16);
}
static inline B64 load_bytes(const void* from) {
  return _mm512_loadu_si512(from);
}
static inline F16 splat_f32(float x) {
  return _mm512_set1_ps(x);
}
static inline I16 splat_i32(int x) {
  return _mm512_set1_epi32(x);
}
static inline B64 splat_bytes(const void* from) {
  int word;
  __builtin_memcpy(&word, from, 4);
  return _mm512_set1_epi32(word);
}
static inline void store(float* to, F16 x) {
  _mm512_storeu_ps(to, x);
}
/// A non-temporal store of 32 bytes.
static inline void store_non_temporal(void* to, const void* from) {
  _mm256_stream_si256((__m256i*)to, _mm256_loadu_si256((const __m256i*)from));
}
static inline B64 low_nibbles(B64 x) {
  return _mm512_and_si512(x, _mm512_set1_epi8(15));
}
static inline B64 high_nibbles(B64 x) {
  return _mm512_and_si512((B64)((UShort32)x >> 4), _mm512_set1_epi8(15));
}
static inline F16 fma(F16 a, F16 b, F16 c) {
  return _mm512_fmadd_ps(a, b, c);
}
static inline F16 mul(F16 a, F16 b) {
  return _mm512_mul_ps(a, b);
}
static inline F16 to_float(I16 x) {
  return (F16) __builtin_convertvector((Int16)x, VecF);
}
/// An optimisation barrier: the compiler takes x as used and changed.
static inline void keep(F16& x) {
  asm volatile("" : "+v"(x));
}
static inline void keep(I16& x) {
  asm volatile("" : "+v"(x));
}
static constexpr int CHAINS = 12;
