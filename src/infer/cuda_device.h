// What only a device can do that is there.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>

namespace moebius {

/// Work that was queued once and can be queued again as a whole: a CUDA graph.
class CapturedWork {
 public:
  virtual ~CapturedWork() = default;
  /// Queues it on the current stream, over the same memory.
  virtual void replay() = 0;
};

/// Records what `work` queues on the current stream, which computes nothing yet. It may not wait
/// for the device.
std::unique_ptr<CapturedWork> capture(const std::function<void()>& work);

/// Bytes of a device's memory that can still be had.
std::int64_t available_memory(at::Device device);

}  // namespace moebius
