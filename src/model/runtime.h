// LibTorch set up for a job, without a header of LibTorch.
#pragma once

#include <memory>

#include "base/context.h"

namespace moebius {

/// Number of threads that ATen and the kernels of the calling thread compute with, for as long as
/// it lives.
class ComputeThreads {
 public:
  explicit ComputeThreads(int threads);
  ~ComputeThreads();
  ComputeThreads(const ComputeThreads&) = delete;
  ComputeThreads& operator=(const ComputeThreads&) = delete;

 private:
  int before_;
};

/// What the calling thread computes with for as long as it lives: `ctx.threads`, and `ctx.compute`
/// for the ops. A job on tensors begins with one; scopes nest, and threads have one each.
class ComputeScope {
 public:
  /// Throws UsageError naming the device of `ctx` if it cannot be had.
  explicit ComputeScope(const Context& ctx);
  ~ComputeScope();
  ComputeScope(const ComputeScope&) = delete;
  ComputeScope& operator=(const ComputeScope&) = delete;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace moebius
