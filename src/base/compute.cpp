#include "base/compute.h"

namespace moebius {

ComputeResources::Use::Use(ComputeResources& resources, int threads)
    : resources_(resources), lock_(resources.mutex_) {
  std::unique_ptr<Executor>& executor = resources.executor_;
  if (executor != nullptr && executor->threads() == threads) return;
  executor.reset();  // two pools at once would spin against each other
  executor = std::make_unique<Executor>(threads);
}

}  // namespace moebius
