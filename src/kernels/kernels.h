// The whole interface between the program and its kernels: raw pointers, dimensions, a slice of
// the work. Kernels know no torch, allocate nothing and throw nothing.
#pragma once

#include <cstdint>
#include <string_view>

#include "kernels/packed.h"

namespace moebius::kernels {

enum class WeightType { f32, f16, bf16 };

/// y [M, N] = x [M, K] times w [N, K] transposed, for columns [n_begin, n_end) of y. x and y f32,
/// sums in f32; w is widened in registers, so a bf16 weight is read as the 2 bytes it is. Rows lie
/// `ldx`, `ldw`, `ldy` elements apart. Meant for few rows (M up to some hundred), where w is what
/// has to be streamed from memory.
struct RowsGemm {
  const float* x;
  const void* w;
  float* y;
  std::int64_t m, n, k;
  std::int64_t ldx, ldw, ldy;
  WeightType type;
};
using RowsGemmFn = void (*)(const RowsGemm& args, std::int64_t n_begin, std::int64_t n_end);

/// Rows of activations before they meet a packed matrix: of what, and `ld` elements apart.
struct Prepared {
  void* x;             ///< f32, bf16 or int8 [M, padded K], zero beyond K
  float* scales;       ///< of int8 [M, groups]: x = int8 * scale, NaN in a group that is not finite
  std::int32_t* sums;  ///< of int8 [M, groups]: what each group adds up to
};

/// Some of those rows, interleaved: f32 [K][M], bf16 [K/2][M][2], int8 [K/4][M][4].
struct TileRows {
  void* x;
  float* scales;          ///< of int8 [groups][M]
  std::int32_t* offsets;  ///< of int8 [groups][M]: the sums times what the weights' zero stands at
  int m;
};

/// y [M, 32] = x [M, K] times two panels of packed matrices transposed: two neighbours, or those of
/// gate and up that belong to the same neurons. A row's values do not depend on M: sums run over k
/// in order.
struct Tile {
  TileRows rows;
  const void* w[2];                ///< panels
  const std::uint16_t* scales[2];  ///< of int8 and int4
  float* y;                        ///< rows `ldy` apart; the second panel's 16 follow the first's
  std::int64_t ldy;
  const void* next[2];  ///< panels that are likely to come next, or null
};

enum class Activation { silu, gelu_tanh, gelu_erf, relu };

/// h = act(x), or act(x) * up where `up` is not 0: the value `up` places after. `columns` is a
/// multiple of 16.
struct Activate {
  Activation kind;
  const float* x;
  float* h;
  std::int64_t m, columns;
  std::int64_t up, ldx, ldh;
};

/// Adds scales[r] x[r] to row ids[r] of y; without scales by 1, without ids to row r.
struct AddScaled {
  const float* x;
  float* y;
  const std::int32_t* ids;
  const float* scales;
  std::int64_t m, columns;
  std::int64_t ldx, ldy;
};

/// Scores [M, columns] become e^(score - max), max being the largest of the row, and 0 outside
/// [first, last); `sum` is what they add up to. A row that sees nothing has max -infinity, sum 0.
struct Softmax {
  float* scores;
  const std::int32_t *first, *last;
  float *max, *sum;             ///< [M]
  std::int64_t m, columns, ld;  ///< columns a multiple of 16
};

/// Puts together two parts of a softmax, y [M, columns] relative to e^max; the second takes it.
struct MergeSoftmax {
  const float *part_y, *part_max, *part_sum;
  float *y, *max, *sum;
  std::int64_t m, columns;  ///< columns a multiple of 16
};

/// y = x / rms(x) * weight (Zhang and Sennrich, 2019), or with `centred` layer norm, whose bias may
/// be null; rows of `columns` values. x may be y.
struct Norm {
  const float* x;
  float* y;
  const float *weight, *bias;
  std::int64_t m, columns;
  std::int64_t ldx, ldy;
  float eps;
  bool centred;
};

/// Rotates each of `heads` heads of `dim` values in rows of x, in place: the last 2 `half` of them,
/// the first half of which turns with the second, by angles whose cos and sin [M, half] are given
/// (RoFormer, Su et al. 2021, in the layout of GPT-NeoX).
struct Rotate {
  float* x;
  const float *cos, *sin;
  std::int64_t m, heads, dim, half;
  std::int64_t ldx;
};

/// No table has tiles of more rows.
inline constexpr int max_tile_rows = 16;

/// One implementation of every kernel.
struct KernelTable {
  const char* isa;
  RowsGemmFn rows_gemm;
  /// Most rows of a tile, by PackedType.
  int tile_rows[packed_types];
  /// x [M, K] f32, rows `ldx` apart, as a matrix of `shape` wants it.
  void (*prepare)(const PackedShape& shape, const float* x, std::int64_t ldx, std::int64_t m,
                  const Prepared& out);
  /// Rows `ids` (or 0, 1, ... if null) of those.
  void (*interleave)(const PackedShape& shape, const Prepared& from, const std::int32_t* ids,
                     const TileRows& out);
  void (*tile)(const PackedShape& shape, const Tile& tile);
  void (*activate)(const Activate& args);
  void (*add_scaled)(const AddScaled& args);
  void (*softmax)(const Softmax& args);
  void (*merge_softmax)(const MergeSoftmax& args);
  void (*norm)(const Norm& args);
  void (*rotate)(const Rotate& args);
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
