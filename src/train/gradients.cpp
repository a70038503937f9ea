#include "train/gradients.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cmath>
#include <numeric>

#include "ops/cpu_kernels.h"
#include "train/pieces.h"

namespace moebius {
namespace {

double sum_of_squares(const at::Tensor& t) {
  if (!ops::readable(t)) return at::linalg_vector_norm(t).square().item<double>();
  const at::Tensor flat = t.contiguous();
  std::vector<double> sums(static_cast<std::size_t>(pieces_of(t)));
  const kernels::ValueType type = ops::value_type(flat);
  const ops::CpuKernels cpu;
  for_each_piece(cpu, flat, [&](std::int64_t begin, std::int64_t count, std::int64_t piece) {
    sums[static_cast<std::size_t>(piece)] =
        cpu->table.sum_of_squares(kernels::at(flat.const_data_ptr(), type, begin), type, count);
  });
  return std::accumulate(sums.begin(), sums.end(), 0.0);
}

}  // namespace

double gradient_norm(const std::vector<Parameter>& parameters,
                     const std::function<bool(const std::string& name)>& chosen) {
  const at::NoGradGuard no_grad;
  double squares = 0;
  for (const Parameter& p : parameters) {
    if (p.value.grad().defined() && (!chosen || chosen(p.name))) {
      squares += sum_of_squares(p.value.grad());
    }
  }
  return std::sqrt(squares);
}

double clip_scale(double norm, double largest) {
  return largest > 0 && norm > largest ? largest / (norm + 1e-6) : 1.0;
}

}  // namespace moebius
