#include "base/arena.h"

#include <algorithm>
#include <new>

#include "base/memory.h"

namespace moebius {

std::byte* Arena::take_bytes(std::size_t bytes) {
  const std::size_t size = (bytes + 63) / 64 * 64;
  if (size < bytes) throw std::bad_alloc();
  while (block_ < blocks_.size() && size > blocks_[block_].size - used_) {
    ++block_;
    used_ = 0;
  }
  if (block_ == blocks_.size()) {
    const std::size_t capacity = std::max({size, min_block_, reserved()});
    blocks_.push_back({large_memory(static_cast<std::int64_t>(capacity)), capacity});
  }
  std::byte* taken = blocks_[block_].memory.get() + used_;
  used_ += size;
  return taken;
}

void Arena::rewind(std::size_t block, std::size_t used) {
  block_ = block;
  used_ = used;
  if (block == 0 && used == 0 && blocks_.size() > 1) {
    min_block_ = reserved();  // one block that holds it all from now on
    blocks_.clear();
  }
}

std::size_t Arena::reserved() const {
  std::size_t sum = 0;
  for (const Block& block : blocks_) sum += block.size;
  return sum;
}

}  // namespace moebius
