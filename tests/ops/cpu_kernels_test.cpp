// Which threads and scratch memory ops compute with.
#include "ops/cpu_kernels.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <thread>

#include "model/random_model.h"
#include "model/runtime.h"
#include "ops/linear.h"

namespace moebius::ops {
namespace {

using support::normal_tensor;

const Executor* current_executor() {
  return &CpuKernels()->executor;
}

const Executor* executor_of(ComputeResources& resources) {
  return &ComputeResources::Use(resources, at::get_num_threads()).executor();
}

TEST(ComputeBinding, OpsUseWhatTheThreadIsBoundTo) {
  const auto outer = std::make_shared<ComputeResources>();
  const auto inner = std::make_shared<ComputeResources>();
  const Executor* unbound = current_executor();
  {
    const ComputeBinding a(outer);
    EXPECT_EQ(current_executor(), executor_of(*outer));
    {
      const ComputeBinding b(inner);
      EXPECT_EQ(current_executor(), executor_of(*inner));
      std::thread([&] { EXPECT_NE(current_executor(), executor_of(*inner)); }).join();
    }
    EXPECT_EQ(current_executor(), executor_of(*outer));
    EXPECT_NE(current_executor(), unbound);
  }
  EXPECT_EQ(current_executor(), unbound);
}

TEST(ComputeBinding, TheBackwardPassUsesItToo) {
  const auto resources = std::make_shared<ComputeResources>();
  const ComputeBinding binding(resources);
  const Executor* seen = nullptr;
  const at::Tensor x = normal_tensor({4, 8}, 1).requires_grad_();
  const at::Tensor w = normal_tensor({6, 8}, 2);
  const at::Tensor y = linear(x, w);
  y.register_hook([&](const at::Tensor&) { seen = current_executor(); });
  y.sum().backward();
  EXPECT_EQ(seen, executor_of(*resources));
}

TEST(ComputeBinding, WithinAParallelRegionOneThreadComputes) {
  const auto resources = std::make_shared<ComputeResources>();
  const ComputeBinding binding(resources);
  const ComputeThreads threads(2);
  const Executor* own = executor_of(*resources);
  at::parallel_for(0, 2, 1, [&](std::int64_t, std::int64_t) {
    if (!at::in_parallel_region()) return;
    EXPECT_EQ(CpuKernels()->executor.threads(), 1);
    EXPECT_NE(current_executor(), own);
  });
}

/// y, dx and dw of a few products.
std::vector<at::Tensor> products() {
  std::vector<at::Tensor> out;
  for (std::uint64_t i = 0; i < 10; ++i) {
    const at::Tensor x = normal_tensor({33, 48}, i).requires_grad_();
    const at::Tensor w = normal_tensor({65, 48}, i + 100).requires_grad_();
    const at::Tensor y = linear(x, w);
    y.square().sum().backward();
    out.insert(out.end(), {y.detach(), x.grad(), w.grad()});
  }
  return out;
}

TEST(ComputeScope, TwoContextsComputeFromTwoThreadsAtOnce) {
  const std::vector<at::Tensor> expected = products();
  const int before = at::get_num_threads();
  std::vector<std::thread> jobs;
  std::vector<at::Tensor> results[2];
  for (int j = 0; j < 2; ++j) {
    jobs.emplace_back([&, j] {
      Context ctx;
      ctx.threads = 1 + j;
      const ComputeScope scope(ctx);
      EXPECT_EQ(at::get_num_threads(), ctx.threads);
      EXPECT_EQ(current_executor(), executor_of(*ctx.compute));
      for (int i = 0; i < 5; ++i) results[j] = products();
    });
  }
  for (std::thread& job : jobs) job.join();
  for (const auto& result : results) {
    ASSERT_EQ(result.size(), expected.size());
    for (std::size_t i = 0; i < expected.size(); ++i)
      EXPECT_TRUE(at::equal(result[i], expected[i]));
  }
  EXPECT_EQ(at::get_num_threads(), before);
}

TEST(ComputeScope, RestoresTheNumberOfThreads) {
  const int before = at::get_num_threads();
  Context ctx;
  ctx.threads = before + 1;
  {
    const ComputeScope scope(ctx);
    EXPECT_EQ(at::get_num_threads(), before + 1);
    EXPECT_EQ(CpuKernels()->executor.threads(), before + 1);
  }
  EXPECT_EQ(at::get_num_threads(), before);
}

}  // namespace
}  // namespace moebius::ops
