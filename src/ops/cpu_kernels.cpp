#include "ops/cpu_kernels.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <utility>

#include "ops/weight.h"

namespace moebius::ops {
namespace {

thread_local ComputeResources* bound = nullptr;

ComputeResources& own_resources() {
  thread_local ComputeResources own;
  return own;
}

/// Threads that meet in a parallel region must not wait for each other's kernels.
ComputeResources& current_resources() {
  return bound == nullptr || at::in_parallel_region() ? own_resources() : *bound;
}

}  // namespace

ComputeBinding::ComputeBinding(std::shared_ptr<ComputeResources> resources)
    : resources_(std::move(resources)), outer_(std::exchange(bound, resources_.get())) {}

ComputeBinding::~ComputeBinding() {
  bound = outer_;
}

CpuKernels::CpuKernels()
    : use_(current_resources(), at::in_parallel_region() ? 1 : at::get_num_threads()),
      cpu_{kernel_table(), use_.executor(), use_.arena()} {}

bool readable(const at::Tensor& t) {
  const at::ScalarType type = t.scalar_type();
  return t.is_cpu() && (type == at::kFloat || type == at::kHalf || type == at::kBFloat16);
}

bool kernels_serve(const at::Tensor& x, const at::Tensor& w) {
  return x.numel() > 0 && readable(x) && readable(w) &&
         (x.scalar_type() == at::kFloat ||
          (x.scalar_type() == at::kBFloat16 && w.scalar_type() == at::kBFloat16));
}

bool kernels_serve_packed(const at::Tensor& x) {
  return x.is_cpu() && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16);
}

bool recording(std::initializer_list<at::Tensor> inputs) {
  return at::GradMode::is_enabled() &&
         std::any_of(inputs.begin(), inputs.end(),
                     [](const at::Tensor& t) { return t.defined() && t.requires_grad(); });
}

kernels::ValueType value_type(const at::Tensor& t) {
  if (t.scalar_type() == at::kBFloat16) return kernels::ValueType::bf16;
  return t.scalar_type() == at::kHalf ? kernels::ValueType::f16 : kernels::ValueType::f32;
}

kernels::PackedType compute_type(const at::Tensor& t) {
  return t.scalar_type() == at::kBFloat16 ? kernels::PackedType::bf16 : kernels::PackedType::f32;
}

kernels::Plain plain_of(const at::Tensor& matrix) {
  const bool transposed = matrix.stride(1) != 1;
  return {matrix.const_data_ptr(), value_type(matrix), matrix.stride(transposed ? 1 : 0), nullptr,
          transposed};
}

at::Tensor strided(const at::Tensor& matrix) {
  return matrix.stride(1) == 1 || matrix.stride(0) == 1 ? matrix : matrix.contiguous();
}

at::Tensor in_rows(const at::Tensor& x) {
  const bool even = x.dim() == 2 || x.size(0) == 1 || x.stride(0) == x.size(1) * x.stride(1);
  return x.stride(-1) == 1 && even ? x : x.contiguous();
}

}  // namespace moebius::ops
