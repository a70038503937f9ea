// FFNs with packed weights and the rows that go through them: experts, a shared part, a dense
// layer.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "config/weights.h"
#include "ops/weight.h"

namespace moebius {

/// Collects FFNs and computes them all in one pass over their weights; without gradients. Biases
/// are f32 and contiguous, as `pack_weights` leaves them.
class PackedFfns {
 public:
  explicit PackedFfns(const at::Tensor& x_TD);

  /// The K experts ids_TK of each token, weighted.
  void add_experts(const FfnOf<Weight>& w, const MoeSpec& moe, const at::Tensor& ids_TK,
                   const at::Tensor& weights_TK);
  /// One FFN for every token, weighted by scales_T where defined.
  void add_all_rows(const FfnOf<Weight>& w, const at::Tensor& scales_T);

  /// [T, D] in the dtype of x.
  at::Tensor run(Activation activation) const;

 private:
  void add(const FfnOf<Weight>& w, std::int64_t expert, std::int64_t begin, std::int64_t end);

  at::ScalarType dtype_;
  at::Tensor x_TD_;
  std::vector<kernels::FfnJob> jobs_;
  std::vector<std::int32_t> rows_;
  std::vector<float> scales_;
  const PackedWeight* first_ = nullptr;
};

}  // namespace moebius
