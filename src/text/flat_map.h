// A hash table with open addressing from 64-bit keys to pairs of 32-bit numbers. Merges are looked
// up several times per character; a node-based map would spend most of that time on cache misses.
#pragma once

#include <bit>
#include <cstdint>
#include <utility>
#include <vector>

namespace moebius {

class FlatMap {
 public:
  struct Value {
    std::int32_t first = 0, second = 0;
  };

  explicit FlatMap(std::size_t expected = 0) { rehash(std::bit_ceil(2 * expected + 16)); }

  /// Inserts or replaces an entry.
  void set(std::uint64_t key, Value value) {
    if (2 * (size_ + 1) > slots_.size()) rehash(2 * slots_.size());
    Slot& slot = slots_[index(key)];
    size_ += !slot.used;
    slot = {key, value, true};
  }

  /// Null if there is none; valid until the next `set`.
  const Value* find(std::uint64_t key) const {
    const Slot& slot = slots_[index(key)];
    return slot.used ? &slot.value : nullptr;
  }

  std::size_t size() const { return size_; }

  static std::uint64_t pair_key(std::uint32_t a, std::uint32_t b) {
    return static_cast<std::uint64_t>(a) << 32 | b;
  }

 private:
  struct Slot {
    std::uint64_t key = 0;
    Value value;
    bool used = false;
  };

  /// The slot of `key`, or the free one where it would go. At most half of the slots are used.
  std::size_t index(std::uint64_t key) const {
    std::size_t at = (key ^ key >> 32) * 0x9E3779B97F4A7C15ull >> shift_;
    while (slots_[at].used && slots_[at].key != key) at = (at + 1) & (slots_.size() - 1);
    return at;
  }

  void rehash(std::size_t size) {
    std::vector<Slot> old = std::exchange(slots_, std::vector<Slot>(size));
    shift_ = 64 - std::countr_zero(size);
    for (const Slot& slot : old) {
      if (slot.used) slots_[index(slot.key)] = slot;
    }
  }

  std::vector<Slot> slots_;
  int shift_ = 0;
  std::size_t size_ = 0;
};

}  // namespace moebius
