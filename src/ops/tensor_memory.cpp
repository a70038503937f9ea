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
    if (bytes < least) return small_->allocate(bytes);
    std::byte* memory = take(rounded(bytes));
    return {memory, memory, give_back, c10::Device(c10::DeviceType::CPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return give_back; }
  void copy_data(void* to, const void* from, std::size_t bytes) const override {
    std::memcpy(to, from, bytes);
  }

 private:
  static constexpr std::size_t least = std::size_t{1} << 20;

  /// Rounds sizes up, so that similar ones share a free list.
  static std::size_t rounded(std::size_t bytes) {
    const std::size_t step = std::max(least, std::bit_floor(bytes) / 16);
    return (bytes + step - 1) / step * step;
  }

  using Memory = std::shared_ptr<std::byte>;

  std::byte* take(std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    auto kept = kept_.extract(bytes);
    if (kept.empty()) {
      while (kept_bytes_ > in_use_bytes_) {
        const auto largest = std::prev(kept_.end());
        kept_bytes_ -= largest->first;
        kept_.erase(largest);
      }
    } else {
      kept_bytes_ -= bytes;
    }
    Memory memory =
        kept.empty() ? large_memory(static_cast<std::int64_t>(bytes)) : std::move(kept.mapped());
    std::byte* begin = memory.get();
    in_use_.emplace(begin, std::pair(bytes, std::move(memory)));
    in_use_bytes_ += bytes;
    return begin;
  }

  bool keep(void* begin) {
    const std::lock_guard lock(mutex_);
    auto used = in_use_.extract(begin);
    if (used.empty()) return false;
    auto& [bytes, memory] = used.mapped();
    in_use_bytes_ -= bytes;
    kept_bytes_ += bytes;
    kept_.emplace(bytes, std::move(memory));
    return true;
  }

  static void give_back(void* memory);

  c10::Allocator* small_ = c10::GetDefaultCPUAllocator();
  std::mutex mutex_;
  std::multimap<std::size_t, Memory> kept_;
  std::unordered_map<void*, std::pair<std::size_t, Memory>> in_use_;
  std::size_t in_use_bytes_ = 0, kept_bytes_ = 0;
};

/// Never destroyed: tensors that outlive main still free their memory here.
KeepingAllocator& allocator() {
  static auto& kept = *std::make_unique<KeepingAllocator>().release();
  return kept;
}

void KeepingAllocator::give_back(void* memory) {
  KeepingAllocator& self = allocator();
  if (!self.keep(memory)) self.small_->raw_deallocate(memory);
}

}  // namespace

void keep_tensor_memory() {
  c10::SetCPUAllocator(&allocator(), /*priority=*/1);
}

}  // namespace moebius::ops
