#include "ops/tensor_memory.h"

#include <ATen/ATen.h>
#include <c10/core/CPUAllocator.h>
#include <gtest/gtest.h>

#include <optional>

namespace moebius::ops {
namespace {

constexpr std::int64_t large = 1 << 20;  // values: 4 MiB

const void* address_of_new_tensor() {
  return at::empty({large}, at::kFloat).const_data_ptr();
}

TEST(KeptTensorMemory, ANewTensorGetsTheMemoryOfTheLastOne) {
  const KeptTensorMemory memory;
  const at::Tensor other = at::ones({large}, at::kFloat);
  const void* first = address_of_new_tensor();
  EXPECT_EQ(address_of_new_tensor(), first);
  EXPECT_TRUE(at::equal(other, at::ones({large}, at::kFloat)));
}

TEST(KeptTensorMemory, TheAllocatorFromBeforeComesBackWithTheLastScope) {
  c10::Allocator* before = c10::GetCPUAllocator();
  {
    std::optional<KeptTensorMemory> first(std::in_place), second(std::in_place);
    c10::Allocator* keeping = c10::GetCPUAllocator();
    EXPECT_NE(keeping, before);
    first.reset();
    EXPECT_EQ(c10::GetCPUAllocator(), keeping);
  }
  EXPECT_EQ(c10::GetCPUAllocator(), before);
  const KeptTensorMemory again;
  EXPECT_NE(c10::GetCPUAllocator(), before);
}

TEST(KeptTensorMemory, TensorsOutliveIt) {
  at::Tensor small, big;
  {
    const KeptTensorMemory memory;
    small = at::full({3}, 2.0);
    big = at::full({large}, 2.0);
  }
  EXPECT_EQ(big.sum().item<double>(), 2.0 * large);
  EXPECT_EQ(small.sum().item<double>(), 6.0);
  big.reset();
  small.reset();
  {
    const KeptTensorMemory memory;
    big = at::full({large}, 1.0);
  }
  const KeptTensorMemory memory;  // and may go while another one lives
  big.reset();
  EXPECT_EQ(at::full({large}, 3.0).sum().item<double>(), 3.0 * large);
}

}  // namespace
}  // namespace moebius::ops
