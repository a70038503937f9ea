// Vectors of 64 bytes, for panel_body.h; included inside the namespace of an instruction set. Where
// GCC's intrinsics start from an undefined register, which it then warns about, operators serve.

using F16 = __m512;
using I16 = __m512i;
using B64 = __m512i;
typedef int Int16 __attribute__((vector_size(64)));
typedef unsigned short UShort32 __attribute__((vector_size(64)));

static inline F16 load_f32(const float* from) {
  return _mm512_loadu_ps(from);
}
static inline F16 load_bf16(const unsigned short* from) {
  const VecH half = load_unaligned<sizeof(VecH), VecH>(from);
  return (F16)(__builtin_convertvector(half, VecU) << 16);
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
static inline B64 low_halves(B64 x) {
  return _mm512_and_si512(x, _mm512_set1_epi8(15));
}
static inline B64 high_halves(B64 x) {
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
/// So that the compiler takes a value for used and unknown.
static inline void keep(F16& x) {
  asm volatile("" : "+v"(x));
}
static inline void keep_i(I16& x) {
  asm volatile("" : "+v"(x));
}
static constexpr int CHAINS = 12;
