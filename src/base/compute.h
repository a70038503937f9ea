// Threads and scratch memory that the kernels of one job compute with.
#pragma once

#include <memory>
#include <mutex>

#include "base/arena.h"
#include "base/executor.h"

namespace moebius {

/// An executor and an arena, started at the first use and kept between uses. One user at a time:
/// threads that share a `ComputeResources` wait for each other; threads with one each do not.
class ComputeResources {
 public:
  /// Exclusive use of the executor and the arena for as long as it lives.
  class Use {
   public:
    /// Waits until nobody else uses `resources`. Restarts the executor if it has another number of
    /// threads. Throws std::system_error if a thread cannot start.
    Use(ComputeResources& resources, int threads);
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;

    Executor& executor() const { return *resources_.executor_; }
    Arena& arena() const { return resources_.arena_; }

   private:
    ComputeResources& resources_;
    std::lock_guard<std::mutex> lock_;
  };

  ComputeResources() = default;
  ComputeResources(const ComputeResources&) = delete;
  ComputeResources& operator=(const ComputeResources&) = delete;

 private:
  std::mutex mutex_;
  std::unique_ptr<Executor> executor_;
  Arena arena_;
};

}  // namespace moebius
