#include "model/runtime.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "base/error.h"
#include "model/device.h"
#include "ops/cpu_kernels.h"

namespace moebius {

at::Device device_of(const Context& ctx) {
  const std::string& name = ctx.device;
  if (name == "cpu") return at::kCPU;
  check_device_name(name);
  if (!at::hasCUDA()) {
    throw UsageError(
        fmt::format("--device {}: no CUDA device, or LibTorch was built without CUDA", name),
        "use --device cpu");
  }
  return at::Device(name);
}

ComputeThreads::ComputeThreads(int threads) : before_(at::get_num_threads()) {
  at::set_num_threads(threads);
}
ComputeThreads::~ComputeThreads() {
  at::set_num_threads(before_);
}

struct ComputeScope::State {
  explicit State(const Context& ctx) : threads(ctx.threads), binding(ctx.compute) {}

  ComputeThreads threads;
  ops::ComputeBinding binding;
};

ComputeScope::ComputeScope(const Context& ctx) {
  device_of(ctx);
  state_ = std::make_unique<State>(ctx);
}
ComputeScope::~ComputeScope() = default;

}  // namespace moebius
