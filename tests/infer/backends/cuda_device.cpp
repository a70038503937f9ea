// The device of tests without a GPU: the CPU, on which captured work is computed again.
#include "infer/backends/cuda_device.h"

#ifndef MOEBIUS_CUDA_KERNELS
#include "base/memory.h"

namespace moebius {
namespace {

class Repeated : public CapturedWork {
 public:
  explicit Repeated(std::function<void()> work) : work_(std::move(work)) {}
  void replay() override { work_(); }

 private:
  std::function<void()> work_;
};

}  // namespace

std::unique_ptr<CapturedWork> capture(const std::function<void()>& work) {
  return std::make_unique<Repeated>(work);
}

std::int64_t available_memory(at::Device) {
  return available_memory();
}

}  // namespace moebius
#endif
