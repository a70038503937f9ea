// Kernels of NVIDIA GPUs: raw device pointers, dimensions, a stream. Like those of the CPU they
// know no torch, allocate nothing and throw nothing. All work is queued on the stream and can be
// captured into a CUDA graph: what changes from token to token is read from device memory.
#pragma once

#include <cstdint>

#include "kernels/kernels.h"
#include "kernels/routing.h"

namespace moebius::kernels::cuda {

/// A cudaStream_t.
using Stream = void*;
/// CUDA's message if a launch failed, or null.
using Failure = const char*;

/// As `kernels::route`.
struct Route {
  RoutingRule rule;
  const float* logits;              ///< [T, E]
  const float *correction, *scale;  ///< [E] or null
  std::int64_t tokens;
  std::int32_t* ids;  ///< [T, K]
  float* weights;     ///< [T, K]
};
Failure route(const Route& args, Stream stream);

/// As `kernels::sort_by_expert`: T K assignments by expert, tokens in order inside an expert.
struct SortByExpert {
  const std::int32_t* ids;  ///< [T, K]
  std::int64_t tokens, top_k, experts;
  std::int32_t* counts;   ///< [E], scratch
  std::int32_t* offsets;  ///< [E + 1]
  std::int32_t* rows;     ///< [T K]: the token of each sorted row
  std::int32_t* places;   ///< [T, K]: the sorted row of each assignment
};
Failure sort_by_expert(const SortByExpert& args, Stream stream);

/// h = act(gate) * up, or act(up) where gate is null; rows of `columns` values, f32 or bf16.
struct ActivateRows {
  Activation kind;
  ValueType type;
  const void *gate, *up;
  void* h;
  std::int64_t rows, columns;
  std::int64_t ldx, ldh;  ///< of gate and up; of h
};
Failure activate(const ActivateRows& args, Stream stream);

/// y[t] = residual[t] + multiplier (sum over k of weights[t, k] x[places[t, k]] + shared[t]), in
/// f32 in between; residual and shared may be null. f32 or bf16.
struct Combine {
  ValueType type;
  const void* x;               ///< [T K, columns], sorted by expert
  const std::int32_t* places;  ///< [T, K]
  const float* weights;        ///< [T, K]
  const void *shared, *residual;
  void* y;
  float multiplier;
  std::int64_t tokens, top_k, columns;
};
Failure combine(const Combine& args, Stream stream);

/// As `kernels::Norm`, with weight and bias of `weights` type; f32 or bf16. Rows are contiguous.
struct NormRows {
  ValueType type, weights;
  const void *x, *weight, *bias;
  void* y;
  std::int64_t rows, columns;
  float eps;
  bool centred;
};
Failure norm(const NormRows& args, Stream stream);

/// As `kernels::Rotate`: row r rotates by the angles whose cosines and sines are row r of cos, sin.
struct RotateRows {
  ValueType type;
  const void* x;
  void* y;
  const float *cos, *sin;  ///< [rows, half]
  std::int64_t rows, heads, dim, half;
  std::int64_t ldx, ldy;
  bool interleaved;
};
Failure rotate(const RotateRows& args, Stream stream);

/// The rows of a product: row r of y is computed from row ids[r] of x, or from row r without ids.
/// With offsets [E + 1] rows [offsets[e], offsets[e + 1]) are multiplied by matrix e of E
/// contiguous ones, else all by the only one. No matrix has more than `max_rows` rows; a matrix is
/// read once for eight.
struct ProductRows {
  std::int64_t count;
  const std::int32_t* ids = nullptr;
  const std::int32_t* offsets = nullptr;
  std::int64_t experts = 1;
  std::int64_t max_rows = 1;
};

/// The output of a product: y = sum + bias, or residual + multiplier (sum + bias).
struct ProductEnd {
  const void* bias = nullptr;      ///< [E, N]
  const void* residual = nullptr;  ///< of the layout of y, and may be y
  float multiplier = 1;
  void* y = nullptr;
  std::int64_t ldy = 0;
};

/// y [rows, N] = x [., K] times w [E, N, K] transposed, sums in f32. All are of one type, f32 or
/// bf16; rows of x are ldx values apart, those of y ldy.
struct PlainProduct {
  ValueType type;
  ProductRows rows;
  const void *x, *w;
  std::int64_t n, k;
  std::int64_t ldx;
  ProductEnd end;
};
Failure multiply(const PlainProduct& args, Stream stream);

/// Quantises rows of f32 or bf16 to int8 as `kernels::Prepared` for a matrix of `shape`, to the
/// same codes.
struct QuantiseRows {
  ValueType type;
  PackedShape shape;
  const void* x;
  std::int64_t rows, ldx;
  std::int8_t* codes;  ///< [rows, padded K]
  float* scales;       ///< [rows, x groups]
};
Failure quantise(const QuantiseRows& args, Stream stream);

/// As PlainProduct, for packed w, int8 or int4, and x of `quantise`; y is of `type`. Groups are
/// multiples of 8.
struct PackedProduct {
  ValueType type;
  ProductRows rows;
  PackedShape shape;
  const std::int8_t* codes;
  const float* scales;
  const void* w;  ///< [E] matrices
  ProductEnd end;
};
Failure multiply(const PackedProduct& args, Stream stream);

/// Dequantises packed matrices, int8 or int4, to w [count, N, K], f32 or bf16.
struct UnpackMatrices {
  ValueType type;
  PackedShape shape;
  std::int64_t count;
  const void* packed;
  void* w;
};
Failure unpack(const UnpackMatrices& args, Stream stream);

/// The KV cache of one sequence in device memory: of each token G keys of key_dim values, and G
/// values of stride `value_apart`.
struct KvTensors {
  void *keys, *values;
};

/// One new token of each of B sequences: adds its key and value to the cache, then
/// y = softmax(scale q.k) v over all tokens in it and itself, at most the last `window` (0: all).
/// Head h of H reads keys and values of group h G / H. The cache is divided into `splits` that
/// blocks process concurrently; with a short cache some have nothing to do, so that the launch does
/// not depend on its length. Values that are a part of the keys have no v. f32 or bf16, as the
/// cache; sums in f32.
struct DecodeAttention {
  ValueType type;
  const KvTensors* sequences;   ///< [B], in device memory
  const std::int64_t* lengths;  ///< [B]: tokens in each cache; not changed
  const void *q, *k, *v;        ///< [B, H key_dim], [B, G key_dim], [B, G value_dim] or null
  void* y;                      ///< [B, H value_dim]
  float* partial;               ///< [B, H, splits, value_dim + 2], scratch
  std::int64_t count;           ///< B
  std::int64_t heads, groups, key_dim, value_dim;
  std::int64_t value_apart;
  std::int64_t splits, window;
  float scale;
};
Failure decode_attention(const DecodeAttention& args, Stream stream);

}  // namespace moebius::kernels::cuda
