// A leaf of a model's weights: a tensor, or matrices packed for the dot products of the CPU.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <span>

#include "base/executor.h"
#include "base/memory.h"
#include "kernels/matrix.h"

namespace moebius {

/// The kernels of this processor. Throws Error if MOEBIUS_ISA names none that it has.
const kernels::KernelTable& kernel_table();

/// Converts row `row` of w [N, K], f32, bf16 or f16, to f32.
void widen_row(const at::Tensor& w, std::int64_t row, float* out);

/// Matrices [N, K] of one shape, one or E of them, in the layout of kernels/panel_layout.h.
class PackedWeight {
 public:
  PackedWeight(const kernels::PackedShape& shape, std::int64_t count,
               std::shared_ptr<std::byte> memory);

  /// Bytes of `count` matrices.
  static std::int64_t bytes_of(const kernels::PackedShape& shape, std::int64_t count);

  const kernels::PackedShape& shape() const { return shape_; }
  std::int64_t count() const { return count_; }
  std::int64_t bytes() const { return bytes_of(shape_, count_); }
  kernels::Matrix matrix(std::int64_t expert = 0) const;
  std::span<const std::byte> memory() const {
    return {memory_.get(), static_cast<std::size_t>(bytes())};
  }

 private:
  friend class WeightPacker;
  std::byte* data(std::int64_t expert) const { return memory_.get() + expert * shape_.bytes(); }

  kernels::PackedShape shape_;
  std::int64_t count_;
  std::shared_ptr<std::byte> memory_;
};

/// A quantised matrix: w[n, k] = codes[n, k] scales[n, k / group].
struct QuantisedMatrix {
  kernels::PackedType type;
  std::int64_t group;
  at::Tensor codes_NK;   ///< int8
  at::Tensor scales_NG;  ///< bf16

  /// [N, K], f32.
  at::Tensor dequantised() const;
};

/// Packs weights into blocks of memory that they share.
class WeightPacker {
 public:
  explicit WeightPacker(Executor& executor) : executor_(executor) {}

  /// w [N, K] or [E, N, K] of any float type.
  PackedWeight pack(const at::Tensor& w, kernels::PackedType type, std::int64_t group);
  /// Matrices of one shape and type that are quantised already.
  PackedWeight pack(std::span<const QuantisedMatrix> matrices);

 private:
  /// Memory for `count` matrices.
  PackedWeight take(const kernels::PackedShape& shape, std::int64_t count);
  void pack_matrix(const at::Tensor& w, const kernels::PackedShape& shape, std::byte* data);

  Executor& executor_;
  MemoryBlocks memory_;
};

class Weight {
 public:
  Weight() = default;
  Weight(at::Tensor plain) : plain_(std::move(plain)) {}  // NOLINT: a tensor is a weight
  explicit Weight(std::shared_ptr<const PackedWeight> packed) : packed_(std::move(packed)) {}

  bool defined() const { return packed_ != nullptr || plain_.defined(); }
  const PackedWeight* packed() const { return packed_.get(); }
  const std::shared_ptr<const PackedWeight>& shared_packed() const { return packed_; }
  /// The tensor. Throws Error if the weight is packed: the caller computes with tensors alone.
  const at::Tensor& plain() const;
  at::Tensor& plain();
  operator const at::Tensor&() const { return plain(); }  // NOLINT
  operator at::Tensor&() { return plain(); }              // NOLINT

 private:
  at::Tensor plain_;
  std::shared_ptr<const PackedWeight> packed_;
};

}  // namespace moebius
