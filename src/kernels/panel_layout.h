// The layout of packed weights, one for all instruction sets. A matrix w [N, K] is divided into
// panels of 16 rows, padded with zeros; in a panel the operands of one dot-product step of all 16
// rows are contiguous:
//   f32   [N/16][K][16]
//   bf16  [N/16][K/2][16][2]
//   int8  [N/16][K/4][16][4]     w = (byte - 128) * scale
//   int4  [N/16][K/8][16][4]     w = (half byte - 8) * scale; the low half is k, the high one k + 4
// Scales are bf16, one per row for `group` neighbours along K; the last group may be shorter. They
// are stored between the weights, so that a matrix is read as one sequential stream: before every
// two groups a cache line of 64 bytes [2][16].
#pragma once

#include <cstdint>

#include "kernels/types.h"

namespace moebius::kernels {

/// Neighbours along K that one dot-product step multiplies: 1, 2 or 4.
constexpr std::int64_t step_of(PackedType type) {
  return type == PackedType::f32 ? 1 : type == PackedType::bf16 ? 2 : 4;
}
inline constexpr std::int64_t panel_width = 16;

/// Always inlined: a shared function that is emitted in an object file of one instruction set could
/// be the copy that the linker keeps for the whole program.
#define MOEBIUS_INLINE [[gnu::always_inline]] constexpr

struct PackedShape {
  PackedType type = PackedType::f32;
  std::int64_t n = 0, k = 0;
  std::int64_t group = 32;  ///< a multiple of 8; of int8 and int4

  MOEBIUS_INLINE bool quantised() const {
    return type == PackedType::int8 || type == PackedType::int4;
  }
  MOEBIUS_INLINE std::int64_t padded_k() const {
    const std::int64_t step = quantised() ? 8 : type == PackedType::bf16 ? 2 : 1;
    return (k + step - 1) / step * step;
  }
  /// Groups along K; 0 of floats.
  MOEBIUS_INLINE std::int64_t groups() const { return quantised() ? (k + group - 1) / group : 0; }
  /// Neighbours along K of an activation that share a scale: a group of the weights for int8, four
  /// groups for int4, so that accumulators are scaled less often.
  MOEBIUS_INLINE std::int64_t x_group() const {
    return type == PackedType::int4 ? 4 * group : group;
  }
  MOEBIUS_INLINE std::int64_t x_groups() const {
    return quantised() ? (k + x_group() - 1) / x_group() : 0;
  }
  /// An even number: tiles take panels in pairs.
  MOEBIUS_INLINE std::int64_t panels() const {
    return (n + 2 * panel_width - 1) / (2 * panel_width) * 2;
  }
  /// Bytes of one panel.
  MOEBIUS_INLINE std::int64_t panel_bytes() const {
    return bytes_of(padded_k()) + scale_line * ((groups() + 1) / 2);
  }
  MOEBIUS_INLINE std::int64_t bytes() const { return panels() * panel_bytes(); }
  /// Byte offset in a panel of the scales [16] of group g.
  MOEBIUS_INLINE std::int64_t scales_at(std::int64_t g) const {
    return g / 2 * (scale_line + bytes_of(2 * group)) + g % 2 * (scale_line / 2);
  }
  /// Bytes of scales before column k of a panel.
  MOEBIUS_INLINE std::int64_t scales_before(std::int64_t k) const {
    return quantised() ? scale_line * (k / group / 2 + 1) : 0;
  }

 private:
  static constexpr std::int64_t scale_line = 64;

  /// Bytes of `columns` columns of a panel without scales.
  MOEBIUS_INLINE std::int64_t bytes_of(std::int64_t columns) const {
    const std::int64_t elements = columns * panel_width;
    return type == PackedType::f32    ? 4 * elements
           : type == PackedType::bf16 ? 2 * elements
           : type == PackedType::int8 ? elements
                                      : elements / 2;
  }
};

/// Packs panels [begin, end) of the matrix whose row n begins at w + n ldw. A group's scale is the
/// one of several candidates whose error is least (sum of squares); the same on every machine.
void pack(const PackedShape& shape, const float* w, std::int64_t ldw, std::int64_t begin,
          std::int64_t end, void* data);
/// The same from bf16 to bf16.
void pack_bf16(const PackedShape& shape, const std::uint16_t* w, std::int64_t ldw,
               std::int64_t begin, std::int64_t end, void* data);

/// Packs panels [begin, end) of a matrix that is quantised already: w[n, k] = codes[n ldw + k]
/// code_scales[n groups + k / group], scales in bf16.
void pack_codes(const PackedShape& shape, const std::int8_t* codes,
                const std::uint16_t* code_scales, std::int64_t ldw, std::int64_t begin,
                std::int64_t end, void* data);

/// Element [n, k] of a packed matrix, dequantised.
float unpack(const PackedShape& shape, const void* data, std::int64_t n, std::int64_t k);

}  // namespace moebius::kernels
