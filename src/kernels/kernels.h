// The interface between the program and its kernels: raw pointers, dimensions and a slice of the
// work. Kernels know no torch, allocate nothing and throw nothing. A panel is 16 columns of a
// product (panel_layout.h); a tile is up to `max_tile_rows` rows by two panels, the accumulators of
// which stay in registers. Shapes: M rows, N outputs, K the dimension of dot products; `ld` is a
// row stride in values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "kernels/panel_layout.h"
#include "kernels/types.h"

namespace moebius::kernels {

constexpr std::int64_t size_of(ValueType type) {
  return type == ValueType::f32 ? 4 : 2;
}

/// The address of value `index`.
[[gnu::always_inline]] inline const void* at(const void* values, ValueType type,
                                             std::int64_t index) {
  return static_cast<const std::byte*>(values) + index * size_of(type);
}
[[gnu::always_inline]] inline void* at(void* values, ValueType type, std::int64_t index) {
  return static_cast<std::byte*>(values) + index * size_of(type);
}

/// Packs lanes of a plain matrix for dot products, into `blocks` of `width` lanes each:
/// [blocks][K / step][width][step] as `type`, f32, or bf16 where it is stored as bf16. A block is a
/// tile of activations (lanes are rows of x) or a panel of weights. Lanes are rows: element k of
/// lane i is from[i ld + k], or with ids from[ids[i] ld + k]. With `transposed` they are columns:
/// from[k ld + i], or from[ids[k] ld + i]; of each row `readable` elements may be read. Lanes from
/// `lanes` on and the rest of the last step become zeros.
struct PackLanes {
  const void* from;
  ValueType stored;
  std::int64_t ld;
  const std::int32_t* ids;
  bool transposed;
  std::int64_t readable;
  std::int64_t k, lanes;
  std::int64_t width, blocks;
  PackedType type;
  void* out;
};

/// Panels of the transpose of a packed matrix w [N, K]: [K, N] in f32, quantised weights
/// dequantised, or in bf16 where w is bf16. The backward pass to x multiplies by it.
struct TransposePanels {
  PackedShape shape;  ///< of w
  const void* w;      ///< its panels
  std::int64_t begin,
      end;          ///< panels of the transpose: columns [16 begin, 16 end) of w, zero beyond K
  PackedType type;  ///< of the transpose
  void* out;        ///< as the panels of {type, K, N}
};

/// Rows of activations in the type that a packed matrix multiplies: f32, bf16, or int8 for int8 and
/// int4 weights.
struct Prepared {
  void* x;             ///< [M, padded K], zero beyond K
  float* scales;       ///< of int8 [M, x groups]: x = int8 scale; NaN where a value is not finite
  std::int32_t* sums;  ///< of int8 [M, groups]: the sum of each group, for the zero point
};

/// Rows of a tile, interleaved: f32 [K][M], bf16 [K/2][M][2], int8 [K/4][M][4].
struct TileRows {
  void* x;
  float* scales;  ///< of int8 [x groups][M]
  std::int32_t*
      offsets;  ///< of int8 [groups][M]: minus the zero point of the weights times the sum
  int m;
};

/// Tiles of so many rows or less are bound by memory bandwidth, which reads the weights; others by
/// arithmetic.
inline constexpr int memory_bound_rows = 4;

/// Where a tile stores its accumulators: row r to row ids[r] of y (r without ids), the second panel
/// 16 columns after the first. y = scales[r] (sum + bias), or with `add` y = keep[r] y + scales[r]
/// (sum + bias); without scales or keep those are 1.
struct TileOutput {
  void* y;
  std::int64_t ldy;
  ValueType type = ValueType::f32;                       ///< f32, or bf16 without `add`
  std::int64_t columns[2] = {panel_width, panel_width};  ///< of each panel
  const float* bias[2] = {};                             ///< added to the sums of these columns
  const std::int32_t* ids = nullptr;
  const float* scales = nullptr;
  bool add = false;
  const float* keep = nullptr;
  /// Whole cache lines may be written with non-temporal stores: y is large, and not read soon.
  bool non_temporal = false;
};

/// The tile x [M, K] times two panels of a packed matrix transposed. Sums run over k in order, so
/// a row's bits do not depend on M.
struct Tile {
  TileRows rows;
  const void* w[2];  ///< panels
  TileOutput out;
  /// Memory to prefetch with more than `memory_bound_rows` rows, an eighth of a panel from each
  /// address; or null.
  const void* next[2];
};

/// h = act(x), or with `up` not 0 act(x[i]) x[i + up]. `columns` is a multiple of 16.
struct Activate {
  Activation kind;
  const float* x;
  float* h;
  std::int64_t m, columns;
  std::int64_t up, ldx, ldh;
};

/// Backward pass of h = act(gate) up, or act(up) without gate, for rows that are weighted with
/// `scales`: from dh [M, columns], the gradient of h before the weighting, dgate, dup and scales h;
/// and adds to dots[r] the dot product of rows r of dh and h, the gradient of scales. All but dh
/// and dots are stored as `type`.
struct ActivateBackward {
  Activation kind;
  ValueType type;
  const float* dh;
  const void *gate, *up;
  void *dgate, *dup, *h;
  const float* scales;
  float* dots;
  std::int64_t m, columns;
  std::int64_t lddh, ldpre, ldgrad, ldh;  ///< of dh; gate and up; dgate and dup; h
};

/// y = scale x, from f32 to `type`, f32 or bf16.
struct Convert {
  const float* x;
  void* y;
  ValueType type;
  std::int64_t m, columns;
  std::int64_t ldx, ldy;
  float scale = 1.0f;
};

/// Adds scales[r] (1 without scales) times row r of x [M, columns] to row ids[r] of y. Ids are
/// distinct.
struct AddRows {
  const float* x;
  float* y;
  const std::int32_t* ids;
  const float* scales;
  std::int64_t m, columns;
  std::int64_t ldx, ldy;
};

/// One step of an online softmax (as in flash attention, Dao et al. 2022): scores [M, columns],
/// times `scale`, become e^(score - max), max being the row's running maximum, and 0 outside
/// [first, last); `sum` is the running denominator. M is at most `max_tile_rows`, the size of
/// `max`, `sum` and `keep`.
struct Softmax {
  float* scores;
  const std::int32_t *first, *last;
  float *max, *sum;             ///< of the columns before; -infinity and 0 at first
  std::int64_t m, columns, ld;  ///< columns a multiple of 16
  float scale = 1.0f;
  float* keep = nullptr;  ///< factor that rescales the results of the columns before
};

/// Backward pass of a softmax: from scores and the gradients of their probabilities [M, columns]
/// the probabilities p = e^(scale score - log_sum), 0 outside [first, last), and the gradients of
/// scores, p (dp - sum of p dp) scale. Both are stored as `type`, with the row stride of scores.
struct SoftmaxBackward {
  const float *scores, *dprobabilities, *log_sums;
  const std::int32_t *first, *last;
  float scale;
  ValueType type;
  void *probabilities, *dscores;
  std::int64_t m, columns, ld;  ///< columns a multiple of 16
};

/// Merges a partial result of an online softmax into another: y [M, columns], relative to e^max.
struct MergeSoftmax {
  const float *part_y, *part_max, *part_sum;
  float *y, *max, *sum;
  std::int64_t m, columns;  ///< columns a multiple of 16
};

/// Tokens of a page of the KV cache.
inline constexpr std::int64_t page_tokens = 64;

/// Attention of few queries to a page of the KV cache, one step of an online softmax: adds to
/// y [M, value_dim], relative to e^max. Over int8 values, probabilities are multiplied by their
/// tokens' scales (0 stays 0, whatever the scale) and quantised to a sum of two int8, the second
/// for the rounding error of the first.
struct AttendPage {
  PackedShape keys, values;     ///< [64, key_dim] and [value_dim, 64], not of int4
  const void* part;             ///< panels of the keys, followed by those of the values
  const std::uint16_t* scales;  ///< of int8: bf16 [64], of each token's value
  const void* next;             ///< the part to prefetch
  Prepared q;                   ///< [M, key_dim]
  int m;
  const std::int32_t *first, *last;  ///< tokens that each query attends to
  float *max, *sum;                  ///< as of Softmax
  float* y;
  std::int64_t ldy;
};

/// y = x / rms(x) * weight (Zhang and Sennrich, 2019), or with `centred` layer norm, whose bias may
/// be null; rows of `columns` values, of `type`. x may be y.
struct Norm {
  const void* x;
  void* y;
  ValueType type;
  const float *weight, *bias;
  std::int64_t m, columns;
  std::int64_t ldx, ldy;
  float eps;
  bool centred;
};

/// Backward pass of Norm: dx from dy; adds to dweight and, unless it is null, to dbias.
struct NormBackward {
  const void *x, *dy;
  void* dx;
  ValueType type;
  const float* weight;
  float *dweight, *dbias;
  std::int64_t m, columns;  ///< rows of x, dy and dx are contiguous
  float eps;
  bool centred;
};

/// Rotary embedding of `heads` heads of `dim` values in each row of x. Of a head's last 2 `half`
/// values the first half rotates with the second, by angles whose cos and sin [M, half] are given
/// (RoFormer, Su et al. 2021, in the layout of GPT-NeoX). With `interleaved`, neighbours in x
/// rotate with each other and are stored as halves. `inverse` is the inverse, and the backward
/// pass: it rotates by the negative angles, and stores interleaved pairs. y may be x unless
/// `interleaved`.
struct Rotate {
  const void* x;
  void* y;
  ValueType type;
  const float *cos, *sin;
  std::int64_t m, heads, dim, half;
  std::int64_t ldx, ldy;
  bool interleaved = false, inverse = false;
};

/// For each row the maximum of `scale` score, and the sum of e^(scale score - max).
struct SumExp {
  const void* scores;
  ValueType type;
  float scale;
  float *max, *sum;  ///< [M]
  std::int64_t m, columns, ld;
};

/// Backward pass of cross entropy: dscore = (e^(scale score - log_sum) - [column is the target])
/// factor, stored as `type`, which scores have too.
struct CrossEntropyBackward {
  const void* scores;
  void* dscores;
  ValueType type;
  const float* log_sums;
  const std::int64_t* targets;
  float scale, factor;
  std::int64_t m, columns, ld;
};

/// One step of AdamW (Loshchilov and Hutter, 2019) over `count` values. m and v are the moving
/// averages of g and g^2, g being `scale` gradient; value -= rate decay value, then
/// value -= rate (m / bias1) / (sqrt(v / bias2) + eps). With `master`, an f32 copy, that is updated
/// and `value` rounded from it. value and gradient are stored as `type`, the averages as `means`.
struct AdamWStep {
  void* value;
  const void* gradient;
  void *m, *v;
  float* master;
  ValueType type, means;
  std::int64_t count;
  float scale, rate, beta1, beta2, eps, decay;
  float bias1, bias2;  ///< 1 - beta^steps
};

/// The largest number of rows of a tile in any table.
inline constexpr int max_tile_rows = 16;

/// One implementation of every kernel.
struct KernelTable {
  const char* isa;
  /// Rows of the largest tile, by PackedType: as many as leave all accumulators in registers.
  int tile_rows[packed_types];
  /// The largest M of `attend_page`; over int8 there is no other kernel.
  int few_queries;
  /// Converts or quantises x [M, K], f32 of row stride `ldx`, for a matrix of `shape`.
  void (*prepare)(const PackedShape& shape, const float* x, std::int64_t ldx, std::int64_t m,
                  const Prepared& out);
  /// Interleaves rows `ids` of those (0, 1, ... if null) as a tile.
  void (*interleave)(const PackedShape& shape, const Prepared& from, const std::int32_t* ids,
                     const TileRows& out);
  void (*pack_lanes)(const PackLanes& args);
  void (*transpose_panels)(const TransposePanels& args);
  void (*tile)(const PackedShape& shape, const Tile& tile);
  void (*activate)(const Activate& args);
  void (*activate_backward)(const ActivateBackward& args);
  void (*convert)(const Convert& args);
  void (*add_rows)(const AddRows& args);
  void (*softmax)(const Softmax& args);
  void (*softmax_backward)(const SoftmaxBackward& args);
  void (*merge_softmax)(const MergeSoftmax& args);
  void (*attend_page)(const AttendPage& args);
  void (*norm)(const Norm& args);
  void (*norm_backward)(const NormBackward& args);
  void (*adamw)(const AdamWStep& args);
  /// The sum of squares of `count` values, f32 or bf16.
  double (*sum_of_squares)(const void* values, ValueType type, std::int64_t count);
  void (*rotate)(const Rotate& args);
  void (*sum_exp)(const SumExp& args);
  void (*cross_entropy_backward)(const CrossEntropyBackward& args);
  /// Runs `rounds` rounds of independent dot products for `type`, bound by throughput alone, and
  /// returns their number of operations: the peak of one thread.
  std::int64_t (*peak)(PackedType type, std::int64_t rounds);
  /// Reads memory aligned to 64 bytes in order; returns a checksum.
  std::uint64_t (*read)(const void* from, std::int64_t bytes);
};

/// The best table for this processor, chosen once; MOEBIUS_ISA=ref|avx2|avx512|avx512bf16 overrides
/// it. Null if that names one that is unknown or that this processor lacks.
const KernelTable* table();
/// The table of that name, or null.
const KernelTable* table_for(std::string_view isa);

}  // namespace moebius::kernels
