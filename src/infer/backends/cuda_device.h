// Operations that need a CUDA device; tests replace them on the CPU.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>

namespace moebius {

/// Work that was captured once and can be replayed: a CUDA graph.
class CapturedWork {
 public:
  virtual ~CapturedWork() = default;
  /// Queues it on the current stream; it uses the same memory as when it was captured.
  virtual void replay() = 0;
};

/// Captures what `work` queues on the current stream, without computing it. `work` must not wait
/// for the device.
std::unique_ptr<CapturedWork> capture(const std::function<void()>& work);

/// Free memory of a device in bytes, what the caching allocator holds unused included.
std::int64_t available_memory(at::Device device);

}  // namespace moebius
