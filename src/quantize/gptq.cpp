#include "quantize/gptq.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "base/dtype.h"
#include "base/error.h"
#include "kernels/codes.h"
#include "ops/linear.h"

namespace moebius {
namespace {

/// About so many columns make a block, after which what is passed on reaches those beyond, as one
/// product.
constexpr std::int64_t block_columns = 128;
/// Rows that a thread takes at once.
constexpr std::int64_t piece_rows = 64;

/// The run over one matrix, which lies transposed so that a column is in one piece.
class Run {
 public:
  Run(const at::Tensor& w_NK, const at::Tensor& factor, kernels::PackedType type,
      std::int64_t group)
      : type_(type),
        group_(group),
        rows_(w_NK.size(0)),
        columns_(w_NK.size(1)),
        groups_((columns_ + group - 1) / group),
        step_(std::max<std::int64_t>(1, block_columns / group) * group),
        factor_(factor),
        w_KN_(w_NK.to(at::kFloat).t().clone(at::MemoryFormat::Contiguous)),
        codes_KN_(at::empty({columns_, rows_}, at::kChar)),
        scales_GN_(at::empty({groups_, rows_}, at::kBFloat16)),
        errors_(at::zeros({step_, rows_}, at::kFloat)) {}

  QuantisedMatrix run(Executor& executor) {
    for (std::int64_t begin = 0; begin < columns_; begin += step_) {
      const std::int64_t end = std::min(begin + step_, columns_), count = end - begin;
      executor.run((rows_ + piece_rows - 1) / piece_rows, [&](std::int64_t piece, int) {
        const std::int64_t first = piece * piece_rows;
        columns(begin, end, first, std::min(first + piece_rows, rows_));
      });
      if (end == columns_ || !factor_.defined()) continue;
      const at::Tensor passed = factor_.narrow(0, begin, count).narrow(1, end, columns_ - end);
      w_KN_.narrow(0, end, columns_ - end)
          .addmm_(passed.t(), errors_.narrow(0, 0, count), /*beta=*/1, /*alpha=*/-1);
    }
    return {type_, group_, codes_KN_.t().contiguous(), scales_GN_.t().contiguous()};
  }

 private:
  float* w(std::int64_t k) { return w_KN_.mutable_data_ptr<float>() + k * rows_; }
  std::uint16_t* scales(std::int64_t g) {
    return static_cast<std::uint16_t*>(scales_GN_.mutable_data_ptr()) + g * rows_;
  }

  /// Columns [begin, end) of rows [first, last).
  void columns(std::int64_t begin, std::int64_t end, std::int64_t first, std::int64_t last) {
    const kernels::NearestCode nearest(type_);
    std::array<float, piece_rows> scale{}, inverse{};
    for (std::int64_t k = begin; k < end; ++k) {
      if (k % group_ == 0) choose_scales(k / group_, first, last, scale, inverse);
      const float* column = w(k);
      auto* codes = codes_KN_.mutable_data_ptr<std::int8_t>() + k * rows_;
      float* errors = errors_.mutable_data_ptr<float>() + (k - begin) * rows_;
      const float* passed =
          factor_.defined() ? factor_.const_data_ptr<float>() + k * columns_ : nullptr;
      const float share = passed != nullptr ? 1 / passed[k] : 0;
      for (std::int64_t n = first; n < last; ++n) {
        const auto i = static_cast<std::size_t>(n - first);
        const float code = std::isfinite(scale[i]) ? nearest(column[n], inverse[i]) : 0;
        codes[n] = static_cast<std::int8_t>(code);
        errors[n] = (column[n] - code * scale[i]) * share;
      }
      if (passed == nullptr) continue;
      for (std::int64_t later = k + 1; later < end; ++later) {
        float* to = w(later);
        const float factor = passed[later];
        for (std::int64_t n = first; n < last; ++n) to[n] -= factor * errors[n];
      }
    }
  }

  void choose_scales(std::int64_t g, std::int64_t first, std::int64_t last,
                     std::array<float, piece_rows>& scale, std::array<float, piece_rows>& inverse) {
    const std::int64_t begin = g * group_, count = std::min(group_, columns_ - begin);
    std::vector<float> values(static_cast<std::size_t>(count));
    for (std::int64_t n = first; n < last; ++n) {
      for (std::int64_t k = 0; k < count; ++k) {
        values[static_cast<std::size_t>(k)] = w(begin + k)[n];
      }
      const std::uint16_t chosen = kernels::scale_of_group(type_, values.data(), count);
      const auto i = static_cast<std::size_t>(n - first);
      scales(g)[n] = chosen;
      scale[i] = bf16_to_f32(chosen);
      inverse[i] = scale[i] != 0 ? 1 / scale[i] : 0;
    }
  }

  kernels::PackedType type_;
  std::int64_t group_, rows_, columns_, groups_;
  /// Columns of a block, which ends with a group: a scale is chosen from corrected columns.
  std::int64_t step_;
  at::Tensor factor_, w_KN_, codes_KN_, scales_GN_, errors_;
};

}  // namespace

at::Tensor error_factor(const at::Tensor& x_TK) {
  if (x_TK.size(0) == 0) return {};
  const at::Tensor x = x_TK.to(at::kFloat);
  const at::Tensor columns = x.t(), moments = ops::linear(columns, columns);
  const double mean = moments.diagonal().mean().item<double>();
  if (!std::isfinite(mean)) fail("inputs of a weight are not finite");
  if (mean == 0) return {};
  // H = R R^T with R upper triangular comes of the factors of H read backwards, and then R^-1 is
  // what is looked for.
  const auto backwards = [](const at::Tensor& m) { return m.flip({0, 1}); };
  const at::Tensor one = at::eye(x.size(1), at::kFloat);
  for (double damping = 0.01; damping < 1e3; damping *= 10) {
    const auto [lower, info] = at::linalg_cholesky_ex(backwards(moments + one * (damping * mean)));
    if (info.item<int>() != 0) continue;
    return at::linalg_solve_triangular(backwards(lower), one, /*upper=*/true).contiguous();
  }
  fail("the inputs of a weight span too wide a range to choose codes for them");
}

QuantisedMatrix gptq(const at::Tensor& w_NK, const at::Tensor& factor, kernels::PackedType type,
                     std::int64_t group, Executor& executor) {
  return Run(w_NK, factor, type, group).run(executor);
}

}  // namespace moebius
