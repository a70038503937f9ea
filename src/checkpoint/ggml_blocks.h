// Block formats of ggml, the library whose types GGUF files name: layouts and dequantisation.
//
// A row of a quantised tensor is a sequence of blocks of 32 or 256 elements; a block holds integers
// q of a few bits and scales that its elements share. Numbers are little-endian, d and m are f16.
// Below, `x[i]` is element i of a block, `low` and `high` are the two halves of a byte, and a field
// with a size is an array of bytes, in the order of the file.
#pragma once

#include <cstddef>

namespace moebius::ggml {

inline constexpr std::size_t block_elements = 32;         ///< of q4_0 to q8_1 and iq4_nl
inline constexpr std::size_t super_block_elements = 256;  ///< of q2_K to q6_K and iq4_xs

/// Writes the elements of one block to `values`. Products and sums are rounded to f32 one by one,
/// in the order of the formula, so that results are the same bits as those of ggml.
using DequantizeBlock = void (*)(const std::byte* block, float* values);

// ---- Blocks of 32: q[i] is in the low half of byte i, q[i + 16] in its high half -------------

/// d, q[16]: x[i] = d (q[i] - 8).
void dequantize_q4_0(const std::byte* block, float* values);
/// d, m, q[16]: x[i] = d q[i] + m.
void dequantize_q4_1(const std::byte* block, float* values);
/// d, h[4], q[16]: bit i of h is the fifth bit of q[i]; x[i] = d (q[i] - 16).
void dequantize_q5_0(const std::byte* block, float* values);
/// d, m, h[4], q[16]: bit i of h is the fifth bit of q[i]; x[i] = d q[i] + m.
void dequantize_q5_1(const std::byte* block, float* values);
/// d, q[32] signed: x[i] = d q[i].
void dequantize_q8_0(const std::byte* block, float* values);
/// d, s, q[32] signed: x[i] = d q[i]; s = d (q[0] + ... + q[31]) is redundant.
void dequantize_q8_1(const std::byte* block, float* values);
/// d, q[16]: x[i] = d t[q[i]], where t is a fixed table of 16 levels.
void dequantize_iq4_nl(const std::byte* block, float* values);

// ---- Super-blocks of 256: groups of 16 or 32 elements have scales of their own, in units of d --

/// s[16], q[64], d, m. Group g of 16: x[i] = (d low(s[g])) q[i] - m high(s[g]). Two bits an
/// element: byte 32 h + l of q holds elements 128 h + l + {0, 32, 64, 96}, the lowest bits first.
void dequantize_q2_k(const std::byte* block, float* values);
/// h[32], q[64], s[12], d. Group g of 16: x[i] = (d (s_g - 32)) (q[i] - 4 (1 - h_i)). Two low bits
/// an element as in q2_K; bit i / 32 of byte i % 32 of h is h_i. The scales s_g have six bits: four
/// in s[g % 8], low half first, and two in s[8 + g % 4], lowest bits first.
void dequantize_q3_k(const std::byte* block, float* values);
/// d, m, s[12], q[128]. Group g of 32: x[i] = (d s_g) q[i] - m m_g. Byte 32 c + l of q holds
/// elements 64 c + l (low) and 64 c + l + 32 (high). s_g and m_g have six bits: those of g < 4 are
/// the low bits of s[g] and s[g + 4]; those of g >= 4 have four bits in the low and high half of
/// s[g + 4], and two above in the top bits of s[g - 4] and s[g].
void dequantize_q4_k(const std::byte* block, float* values);
/// d, m, s[12], h[32], q[128]. As q4_K; bit i / 32 of byte i % 32 of h is the fifth bit of q[i].
void dequantize_q5_k(const std::byte* block, float* values);
/// l[128], h[64], s[16] signed, d. Group g of 16: x[i] = (d s[g]) (q[i] - 32). Of half c, byte
/// 64 c + l of l holds the low four bits of elements 128 c + l (low) and 128 c + l + 64 (high);
/// h holds the two bits above, as in q2_K.
void dequantize_q6_k(const std::byte* block, float* values);
/// d, h[2], s[4], q[128]. Group g of 32: x[i] = (d (s_g - 32)) t[q[i]] with iq4_nl's table. Byte
/// 16 g + l of q holds elements 32 g + l (low) and 32 g + l + 16 (high). s_g has four bits in
/// s[g / 2], low half first, and two in h, lowest bits first.
void dequantize_iq4_xs(const std::byte* block, float* values);

/// 32 values as a block of q8_0: d is the largest magnitude divided by 127, q is rounded to the
/// nearest, halves away from zero.
void quantize_q8_0(const float* values, std::byte* block);

}  // namespace moebius::ggml
