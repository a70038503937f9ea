// What a leaf of a model's weights is: a tensor, or a matrix packed for the dot products of the
// CPU.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

#include "kernels/drivers.h"

namespace moebius {

/// The kernels of this processor. Throws Error where MOEBIUS_ISA names none that it has.
const kernels::KernelTable& kernel_table();

/// Matrices [N, K] of one shape, one or E of them, in the layout of kernels/packed.h.
class PackedWeight {
 public:
  /// Packs w [N, K] or [E, N, K] of any float type.
  PackedWeight(const at::Tensor& w, kernels::PackedType type, std::int64_t group,
               Executor& executor);

  const kernels::PackedShape& shape() const { return shape_; }
  std::int64_t count() const { return data_.size(0); }
  kernels::PackedMatrix matrix(std::int64_t expert = 0) const;
  std::int64_t bytes() const;

 private:
  void pack(const at::Tensor& w, std::int64_t expert, Executor& executor);

  kernels::PackedShape shape_;
  at::Tensor data_, scales_;  ///< uint8 [E, bytes], bf16 [E, scales]
};

class Weight {
 public:
  Weight() = default;
  Weight(at::Tensor plain) : plain_(std::move(plain)) {}  // NOLINT: a tensor is a weight
  explicit Weight(std::shared_ptr<const PackedWeight> packed) : packed_(std::move(packed)) {}

  bool defined() const { return packed_ != nullptr || plain_.defined(); }
  const PackedWeight* packed() const { return packed_.get(); }
  /// Throw Error for packed ones: what asks for it cannot compute with them.
  const at::Tensor& plain() const;
  at::Tensor& plain();
  operator const at::Tensor&() const { return plain(); }  // NOLINT
  operator at::Tensor&() { return plain(); }              // NOLINT

 private:
  at::Tensor plain_;
  std::shared_ptr<const PackedWeight> packed_;
};

}  // namespace moebius
