// What the layers of a decoder are made of, on packed weights: the drivers cut work into pieces for
// an executor and call the tiles of a kernel table. Activations are f32 throughout; a row's result
// depends neither on the rows beside it nor on the number of threads.
#pragma once

#include <cstddef>
#include <span>

#include "base/arena.h"
#include "base/executor.h"
#include "kernels/kernels.h"

namespace moebius::kernels {

/// A matrix [rows, columns] as it lies in memory: row r at data + r ld, or at data + ids[r] ld; or,
/// `transposed`, the matrix of which that is the transpose.
struct Plain {
  const void* data = nullptr;
  ValueType type = ValueType::f32;
  std::int64_t ld = 0;
  const std::int32_t* ids = nullptr;
  bool transposed = false;
};

/// A matrix w [N, K] to multiply by, in one of three forms: packed panels; a plain matrix, packed
/// piece by piece as it is used, f32, what widens to it, or bf16 as bf16; or the transpose of a
/// packed matrix [K, N], made piece by piece. Empty without any of them.
struct Matrix {
  PackedShape shape;
  const std::byte* data = nullptr;
  Plain plain;
  std::int64_t first = 0;  ///< the panel that data begins with
  PackedShape transpose_shape{};
  const std::byte* transpose_data = nullptr;  ///< panels of the transpose

  bool defined() const {
    return data != nullptr || plain.data != nullptr || transpose_data != nullptr;
  }
  bool packed() const { return data != nullptr; }
};

/// The type in which gradients pass through w: bf16 if it is bf16, else f32.
inline PackedType gradient_type(const Matrix& w) {
  return w.shape.type == PackedType::bf16 ? PackedType::bf16 : PackedType::f32;
}

/// The transpose of a matrix, packed or plain, to be multiplied by in `type`: f32, or bf16 where w
/// is bf16. Quantised weights are dequantised.
Matrix transposed(const Matrix& w, PackedType type);

/// What drivers work with.
struct CpuContext {
  const KernelTable& table;
  Executor& executor;
  Arena& arena;
};

/// Calls work(piece, thread) for each of `count` pieces that go over so many values, on all threads
/// if that is worth to wake them.
template <class Work>
void run_pieces(const CpuContext& cpu, std::int64_t values, std::int64_t count, Work work) {
  constexpr std::int64_t little = 1 << 14;
  if (values > little) return cpu.executor.run(count, work);
  for (std::int64_t piece = 0; piece < count; ++piece) work(piece, 0);
}

/// More than that, if it is not read soon, is not worth a place in the caches.
inline constexpr std::int64_t worth_caching = 4 << 20;

/// y [M, N] = x [M, K] times w transposed, plus bias [N] where there is one; or that times `scale`
/// is added to y, then f32.
struct Product {
  Matrix w;
  const float* bias = nullptr;
  void* y = nullptr;
  std::int64_t ldy = 0;
  bool add = false;
  float scale = 1.0f;
  ValueType type = ValueType::f32;  ///< of y: f32 or bf16
  bool past_caches = false;         ///< y is much, and not read soon
};
/// Several products of the same x; their matrices have one K, type and group. x is f32, or bf16 for
/// matrices in bf16; with ids or transposed only if its type is that of the matrices.
void linear(const CpuContext& cpu, const Plain& x, std::int64_t m,
            std::span<const Product> products);

}  // namespace moebius::kernels
