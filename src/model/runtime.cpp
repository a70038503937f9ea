#include "model/runtime.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>

#include "base/error.h"
#include "model/device.h"

namespace moebius {

at::Device device_of(const Context& ctx) {
  const std::string& name = ctx.device;
  if (name == "cpu") return at::kCPU;
  if (name != "cuda" && !name.starts_with("cuda:")) {
    throw UsageError(fmt::format("--device {}: not cpu, cuda or cuda:N", name));
  }
  if (!at::hasCUDA()) {
    throw UsageError(
        fmt::format("--device {}: no CUDA device, or LibTorch was built without CUDA", name),
        "use --device cpu");
  }
  return at::Device(name);
}

void init_runtime(const Context& ctx) {
  at::set_num_threads(ctx.threads);
  device_of(ctx);
}

ComputeThreads::ComputeThreads(int threads) : before_(at::get_num_threads()) {
  at::set_num_threads(threads);
}
ComputeThreads::~ComputeThreads() {
  at::set_num_threads(before_);
}

std::string runtime_description() {
  return at::get_cpu_capability();
}

}  // namespace moebius
