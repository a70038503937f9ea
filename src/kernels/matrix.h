// Matrices as products take them: in memory, in panels, or as the transpose of panels.
#pragma once

#include <cstddef>

#include "kernels/kernels.h"

namespace moebius::kernels {

/// A matrix [rows, columns] in memory: row r begins at data + r ld, or with ids at
/// data + ids[r] ld. With `transposed`, the matrix whose transpose that is.
struct Plain {
  const void* data = nullptr;
  ValueType type = ValueType::f32;
  std::int64_t ld = 0;
  const std::int32_t* ids = nullptr;
  bool transposed = false;
};

inline Plain transposed(Plain x) {
  x.transposed = !x.transposed;
  return x;
}

/// A matrix w [N, K] to multiply by, in one of three forms: packed panels; a plain matrix, packed
/// piece by piece as it is used, in f32, or in bf16 if it is stored as bf16; or the transpose of a
/// packed matrix [K, N], made piece by piece. Undefined without any of them.
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

/// The transpose of a packed or plain matrix, to be multiplied by in `type`: f32, or bf16 where w
/// is bf16. Quantised weights are dequantised.
inline Matrix transposed(const Matrix& w, PackedType type) {
  Matrix out{.shape = {type, w.shape.k, w.shape.n}};
  if (w.packed()) {
    out.transpose_shape = w.shape;
    out.transpose_data = w.data;
  } else {
    out.plain = transposed(w.plain);
  }
  return out;
}

}  // namespace moebius::kernels
