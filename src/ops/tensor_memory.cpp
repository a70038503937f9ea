#include "ops/tensor_memory.h"

#include <c10/core/CPUAllocator.h>

#include <bit>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "base/memory.h"

namespace moebius::ops {
namespace {

class KeepingAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(std::size_t bytes) override {
    if (bytes < min_bytes) return small_->allocate(bytes);
    std::byte* memory = take(rounded(bytes));
    return {memory, memory, free_memory, c10::Device(c10::DeviceType::CPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return free_memory; }
  void copy_data(void* to, const void* from, std::size_t bytes) const override {
    std::memcpy(to, from, bytes);
  }

  void add_user() {
    const std::lock_guard lock(mutex_);
    if (users_++ > 0) return;
    before_ = c10::GetCPUAllocator();
    c10::SetCPUAllocator(this);
  }
  void remove_user() {
    const std::lock_guard lock(mutex_);
    if (--users_ > 0) return;
    c10::SetCPUAllocator(before_);
    free_.clear();
    free_bytes_ = 0;
  }

 private:
  static constexpr std::size_t min_bytes = std::size_t{1} << 20;

  /// Sizes that differ by little become one, so that memory is found again.
  static std::size_t rounded(std::size_t bytes) {
    const std::size_t step = std::max(min_bytes, std::bit_floor(bytes) / 16);
    return (bytes + step - 1) / step * step;
  }

  using Memory = std::shared_ptr<std::byte>;

  std::byte* take(std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    auto found = free_.extract(bytes);
    if (found.empty()) {
      while (free_bytes_ > in_use_bytes_) {
        const auto largest = std::prev(free_.end());
        free_bytes_ -= largest->first;
        free_.erase(largest);
      }
    } else {
      free_bytes_ -= bytes;
    }
    Memory memory =
        found.empty() ? large_memory(static_cast<std::int64_t>(bytes)) : std::move(found.mapped());
    std::byte* begin = memory.get();
    in_use_.emplace(begin, std::pair(bytes, std::move(memory)));
    in_use_bytes_ += bytes;
    return begin;
  }

  /// False for memory that another allocator gave.
  bool give_back(void* begin) {
    const std::lock_guard lock(mutex_);
    auto used = in_use_.extract(begin);
    if (used.empty()) return false;
    auto& [bytes, memory] = used.mapped();
    in_use_bytes_ -= bytes;
    if (users_ == 0) return true;  // freed with `used`
    free_bytes_ += bytes;
    free_.emplace(bytes, std::move(memory));
    return true;
  }

  static void free_memory(void* memory);

  c10::Allocator* small_ = c10::GetDefaultCPUAllocator();
  c10::Allocator* before_ = nullptr;
  std::mutex mutex_;
  int users_ = 0;
  std::multimap<std::size_t, Memory> free_;
  std::unordered_map<void*, std::pair<std::size_t, Memory>> in_use_;
  std::size_t in_use_bytes_ = 0, free_bytes_ = 0;
};

/// Never destroyed: tensors that outlive main still free their memory.
KeepingAllocator& allocator() {
  static auto& instance = *std::make_unique<KeepingAllocator>().release();
  return instance;
}

void KeepingAllocator::free_memory(void* memory) {
  KeepingAllocator& self = allocator();
  if (!self.give_back(memory)) self.small_->raw_deallocate(memory);
}

}  // namespace

KeptTensorMemory::KeptTensorMemory() {
  allocator().add_user();
}

KeptTensorMemory::~KeptTensorMemory() {
  allocator().remove_user();
}

}  // namespace moebius::ops
