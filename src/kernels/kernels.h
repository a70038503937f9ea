// The whole interface between the program and its kernels: raw pointers, dimensions, a slice of
// the work. Kernels know no torch, allocate nothing and throw nothing.
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

/// The value at `index` of some in memory.
[[gnu::always_inline]] inline const void* at(const void* values, ValueType type,
                                             std::int64_t index) {
  return static_cast<const std::byte*>(values) + index * size_of(type);
}
[[gnu::always_inline]] inline void* at(void* values, ValueType type, std::int64_t index) {
  return static_cast<std::byte*>(values) + index * size_of(type);
}

/// Lanes of a plain matrix as the dot products take them: `blocks` of `width` lanes each, [K/step]
/// [width][step] as `type`, which is f32, or bf16 of what is stored as bf16. Lanes are rows, of
/// `ld` elements each: element k of lane i is from[i ld + k], or with ids from[ids[i] ld + k]; or,
/// `transposed`, columns: from[k ld + i], or from[ids[k] ld + i], and of each row at least
/// `readable` elements may be read. Zeros fill lanes from `lanes` on and the last step.
struct LayOut {
  const void* from;
  ValueType stored;
  std::int64_t ld;
  const std::int32_t* ids;
  bool transposed;
  std::int64_t readable;
  std::int64_t k, lanes;
  std::int64_t width, blocks;  ///< tiles and their rows, or panels
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

/// Rows of activations before they meet a packed matrix: of what, and `ld` elements apart.
struct Prepared {
  void* x;             ///< f32, bf16 or int8 [M, padded K], zero beyond K
  float* scales;       ///< of int8 [M, x groups]: x = int8 * scale, NaN where one is not finite
  std::int32_t* sums;  ///< of int8 [M, groups]: what each group adds up to
};

/// Some of those rows, interleaved: f32 [K][M], bf16 [K/2][M][2], int8 [K/4][M][4].
struct TileRows {
  void* x;
  float* scales;          ///< of int8 [x groups][M]
  std::int32_t* offsets;  ///< of int8 [groups][M]: the sums times what the weights' zero stands at
  int m;
};

/// Tiles of so many rows or less take time for reading weights; others for computing.
inline constexpr int streamed_rows = 4;

/// Where the sums of a tile go: of row r, times scales[r] (1), to row ids[r] (r) of y, those of the
/// second panel 16 places after those of the first. With `add` to what is there, of which keep[r]
/// (1) times is kept.
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
  /// Whether whole lines of memory may go past the caches: all of y is much, and not read soon.
  bool past_caches = false;
};

/// x [M, K] times two panels of a packed matrix transposed. A row's values do not depend on M: sums
/// run over k in order.
struct Tile {
  TileRows rows;
  const void* w[2];  ///< panels
  TileOutput out;
  /// Eighths of two panels that come later, to ask for meanwhile with more than `streamed_rows`
  /// rows; or null.
  const void* next[2];
};

/// h = act(x), or act(x) * up where `up` is not 0: the value `up` places after. `columns` is a
/// multiple of 16.
struct Activate {
  Activation kind;
  const float* x;
  float* h;
  std::int64_t m, columns;
  std::int64_t up, ldx, ldh;
};

/// Backwards through act(gate) * up, or act(up) without gate, for rows that count `scales` times:
/// from dh [M, columns], the gradient of h, to those of gate and up; h itself, scaled; and adds to
/// dots[r] the product of rows r of dh and h. All but dh and dots are stored as `type`.
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

/// Rows of f32 times `scale` as `type`, f32 or bf16.
struct Convert {
  const float* x;
  void* y;
  ValueType type;
  std::int64_t m, columns;
  std::int64_t ldx, ldy;
  float scale = 1.0f;
};

/// Rows of x [M, columns], scales[r] (1) times each, are added to rows ids[r] of y, no two of which
/// are the same.
struct AddRows {
  const float* x;
  float* y;
  const std::int32_t* ids;
  const float* scales;
  std::int64_t m, columns;
  std::int64_t ldx, ldy;
};

/// More columns of a softmax under way (as in flash attention, Dao et al. 2022): scores
/// [M, columns], times `scale`, become e^(score - max), max being the largest of the row so far,
/// and 0 outside [first, last); `sum` is what all of them add up to. M is at most `max_tile_rows`,
/// which `max`, `sum` and `keep` have room for.
struct Softmax {
  float* scores;
  const std::int32_t *first, *last;
  float *max, *sum;             ///< of the columns before: -infinity and 0 if there are none
  std::int64_t m, columns, ld;  ///< columns a multiple of 16
  float scale = 1.0f;
  float* keep = nullptr;  ///< what the shares of the columns before are to be multiplied by
};

/// From scores and the gradients of their shares [M, columns]: the shares e^(scale score - log
/// sum), 0 outside [first, last), and the gradients of scores, share (gradient - mean) scale,
/// `mean` being that of the row's gradients by shares. Both are stored as `type`, rows `ld` apart
/// like scores.
struct SoftmaxBackward {
  const float *scores, *dshares, *log_sums;
  const std::int32_t *first, *last;
  float scale;
  ValueType type;
  void *shares, *dscores;
  std::int64_t m, columns, ld;  ///< columns a multiple of 16
};

/// Puts together two parts of a softmax, y [M, columns] relative to e^max; the second takes it.
struct MergeSoftmax {
  const float *part_y, *part_max, *part_sum;
  float *y, *max, *sum;
  std::int64_t m, columns;  ///< columns a multiple of 16
};

/// Tokens of a page of keys and values.
inline constexpr std::int64_t page_tokens = 64;

/// Few queries meet a page: what its tokens give is added to y [M, value_dim], relative to e^max,
/// as a softmax under way goes on. Of int8, shares take their tokens' scales (one of 0 stays 0,
/// whatever its token's is); to meet int8 they become two of them, the second for what the first
/// leaves over.
struct AttendPage {
  PackedShape keys, values;     ///< [64, key_dim] and [value_dim, 64], not of int4
  const void* part;             ///< panels of the keys, and behind them those of the values
  const std::uint16_t* scales;  ///< of int8, bf16 [64]: of each token's value
  const void* next;             ///< the part that is likely to come next
  Prepared q;                   ///< [M, key_dim]
  int m;
  const std::int32_t *first, *last;  ///< tokens that each of them sees
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

/// Backwards through Norm: dx from dy; adds to dweight and, unless it is null, dbias.
struct NormBackward {
  const void *x, *dy;
  void* dx;
  ValueType type;
  const float* weight;
  float *dweight, *dbias;
  std::int64_t m, columns;  ///< rows of x, dy and dx follow each other
  float eps;
  bool centred;
};

/// Rotates each of `heads` heads of `dim` values in rows of x to y, which may be x unless pairs are
/// `interleaved`: the last 2 `half` of them, the first half of which turns with the second, by
/// angles whose cos and sin [M, half] are given (RoFormer, Su et al. 2021, in the layout of
/// GPT-NeoX). Interleaved ones of x, neighbours of which turn with each other, become halves.
/// `back` is the way back: what turned is turned back, and interleaved in y if it was in x.
struct Rotate {
  const void* x;
  void* y;
  ValueType type;
  const float *cos, *sin;
  std::int64_t m, heads, dim, half;
  std::int64_t ldx, ldy;
  bool interleaved = false, back = false;
};

/// Of rows of scores times `scale`: the largest, and the sum of e^(score - largest).
struct SumExp {
  const void* scores;
  ValueType type;
  float scale;
  float *max, *sum;  ///< [M]
  std::int64_t m, columns, ld;
};

/// The gradients of rows of scores, from the cross entropy of their softmax against `targets`,
/// times `factor`: (e^(scale score - log_sum) - [target]) factor; stored as `type`, which scores
/// have too.
struct CrossEntropyBackward {
  const void* scores;
  void* dscores;
  ValueType type;
  const float* log_sums;
  const std::int64_t* targets;
  float scale, factor;
  std::int64_t m, columns, ld;
};

/// One step of AdamW (Loshchilov and Hutter, 2019) over `count` values: m and v become the means of
/// g and g^2, g being gradient times `scale`; value -= rate decay value, then
/// rate m / bias1 / (sqrt(v / bias2) + eps). With `master` that is what is updated, and `value` is
/// a copy of it. value and gradient are stored as `type`, the means as `means`, masters in f32.
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

/// No table has tiles of more rows.
inline constexpr int max_tile_rows = 16;

/// One implementation of every kernel.
struct KernelTable {
  const char* isa;
  /// Most rows of a tile, by PackedType.
  int tile_rows[packed_types];
  /// Most queries that `attend_page` takes; over int8 all come that way.
  int few_queries;
  /// x [M, K] f32, rows `ldx` apart, as a matrix of `shape` wants it.
  void (*prepare)(const PackedShape& shape, const float* x, std::int64_t ldx, std::int64_t m,
                  const Prepared& out);
  /// Rows `ids` (or 0, 1, ... if null) of those.
  void (*interleave)(const PackedShape& shape, const Prepared& from, const std::int32_t* ids,
                     const TileRows& out);
  void (*lay_out)(const LayOut& args);
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
  /// Of `count` values, f32 or bf16.
  double (*sum_of_squares)(const void* values, ValueType type, std::int64_t count);
  void (*rotate)(const Rotate& args);
  void (*sum_exp)(const SumExp& args);
  void (*cross_entropy_backward)(const CrossEntropyBackward& args);
  /// The operations of `rounds` rounds of the dot product for `type` that wait for nothing but each
  /// other's unit: the peak of one thread.
  std::int64_t (*peak)(PackedType type, std::int64_t rounds);
  /// Reads memory on a border of 64 bytes, in order; some sum of it.
  std::uint64_t (*read)(const void* from, std::int64_t bytes);
};

/// The best table for this processor, picked once; MOEBIUS_ISA=ref|avx2|avx512|avx512bf16 overrides
/// it.
/// Null if MOEBIUS_ISA names one that is unknown or that this processor lacks.
const KernelTable* table();
/// The table of that name, or null.
const KernelTable* table_for(std::string_view isa);

}  // namespace moebius::kernels
