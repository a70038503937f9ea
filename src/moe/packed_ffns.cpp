#include "moe/packed_ffns.h"

#include <ATen/ATen.h>

#include <numeric>

#include "kernels/routing.h"

namespace moebius {
namespace {

kernels::PackedMatrix matrix_of(const Weight& w, std::int64_t expert) {
  return w.defined() ? w.packed()->matrix(expert) : kernels::PackedMatrix{};
}

/// Row `expert` of biases [E, N], or [N].
const float* bias_of(const Weight& bias, std::int64_t expert) {
  if (!bias.defined()) return nullptr;
  const at::Tensor& values = bias;
  return values.const_data_ptr<float>() + expert * values.size(-1);
}

}  // namespace

PackedFfns::PackedFfns(const at::Tensor& x_TD)
    : dtype_(x_TD.scalar_type()), x_TD_(x_TD.to(at::kFloat).contiguous()) {}

void PackedFfns::add(const FfnOf<Weight>& w, std::int64_t expert, std::int64_t begin,
                     std::int64_t end) {
  if (first_ == nullptr) first_ = w.up.packed();
  jobs_.push_back({matrix_of(w.gate, expert), matrix_of(w.up, expert), matrix_of(w.down, expert),
                   bias_of(w.gate_bias, expert), bias_of(w.up_bias, expert),
                   bias_of(w.down_bias, expert), begin, end});
}

void PackedFfns::add_experts(const FfnOf<Weight>& w, const MoeSpec& moe, const at::Tensor& ids_TK,
                             const at::Tensor& weights_TK) {
  const at::Tensor ids = ids_TK.to(at::kInt).contiguous();
  const at::Tensor weights = weights_TK.to(at::kFloat).contiguous();
  const auto before = std::ssize(rows_), count = before + ids.numel();
  rows_.resize(static_cast<std::size_t>(count));
  scales_.resize(static_cast<std::size_t>(count));
  std::vector<std::int64_t> offsets(static_cast<std::size_t>(moe.experts) + 1);
  kernels::sort_by_expert({.experts = moe.experts, .top_k = moe.top_k},
                          ids.const_data_ptr<std::int32_t>(), weights.const_data_ptr<float>(),
                          ids.size(0), offsets.data(), rows_.data() + before,
                          scales_.data() + before);
  for (std::size_t e = 0; e + 1 < offsets.size(); ++e) {
    add(w, static_cast<std::int64_t>(e), before + offsets[e], before + offsets[e + 1]);
  }
}

void PackedFfns::add_all_rows(const FfnOf<Weight>& w, const at::Tensor& scales_T) {
  const auto before = std::ssize(rows_), tokens = x_TD_.size(0);
  rows_.resize(static_cast<std::size_t>(before + tokens));
  std::iota(rows_.begin() + before, rows_.end(), 0);
  scales_.resize(rows_.size(), 1.0f);
  if (scales_T.defined()) {
    const at::Tensor scales = scales_T.to(at::kFloat).contiguous();
    std::copy_n(scales.const_data_ptr<float>(), tokens, scales_.begin() + before);
  }
  add(w, 0, before, before + tokens);
}

at::Tensor PackedFfns::run(Activation activation) const {
  at::Tensor y_TD = at::zeros_like(x_TD_);
  const std::int64_t width = x_TD_.size(1);
  kernels::grouped_ffn(first_->cpu(),
                       {jobs_, rows_.data(), scales_.data(), x_TD_.const_data_ptr<float>(),
                        y_TD.mutable_data_ptr<float>(), x_TD_.size(0), width, width, activation});
  return y_TD.to(dtype_);
}

}  // namespace moebius
