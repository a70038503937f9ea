#include "benchmark/limits.h"

#include <ATen/ATen.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <memory>

#include "base/clock.h"
#include "model/device.h"
#include "ops/weight.h"

namespace moebius {
namespace {

struct CpuLimits {
  explicit CpuLimits(int threads) : executor(threads), meter(kernel_table(), executor) {}

  Executor executor;
  kernels::LimitMeter meter;
};

class DeviceLimits {
 public:
  explicit DeviceLimits(at::Device device)
      : device_(device), memory_(at::ones({std::int64_t{1} << 28}, options(at::kFloat))) {
    sample();  // the first call of a GPU library includes its initialisation
  }

  kernels::Limits sample() const {
    const at::InferenceMode inference;
    const double bytes = 4.0 * static_cast<double>(memory_.numel());
    return {bytes / seconds_of([&] { at::sum(memory_); }) / 1e9, product(at::kFloat, 4096),
            product(at::kBFloat16, 8192), product(at::kChar, 8192)};
  }

 private:
  at::TensorOptions options(at::ScalarType type) const {
    return at::TensorOptions(type).device(device_);
  }
  void wait() const {
    c10::impl::VirtualGuardImpl(device_.type()).getStream(device_).synchronize();
  }
  template <class Work>
  double seconds_of(Work work) const {
    wait();
    const auto start = Clock::now();
    work();
    wait();
    return seconds_since(start);
  }
  /// 10^9 operations a second of a product of square matrices.
  double product(at::ScalarType type, std::int64_t size) const {
    const at::Tensor a = at::ones({size, size}, options(type)), b = at::ones_like(a).t();
    const double operations = 2.0 * static_cast<double>(size * size * size);
    return operations / 1e9 /
           seconds_of([&] { type == at::kChar ? at::_int_mm(a, b) : at::mm(a, b); });
  }

  at::Device device_;
  at::Tensor memory_;
};

}  // namespace

std::function<kernels::Limits()> limit_sampler(const Context& ctx) {
  const at::Device device = device_of(ctx);
  if (device.is_cpu()) {
    return [limits = std::make_shared<CpuLimits>(ctx.threads)] { return limits->meter.sample(); };
  }
  return [limits = std::make_shared<DeviceLimits>(device)] { return limits->sample(); };
}

}  // namespace moebius
