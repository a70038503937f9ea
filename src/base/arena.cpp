#include "base/arena.h"

#include <algorithm>
#include <new>
#include <utility>

#include "base/memory.h"

namespace moebius {
namespace {

constexpr std::align_val_t border{64};

}  // namespace

void Arena::Free::operator()(std::byte* memory) const {
  ::operator delete(memory, border);
}

std::byte* Arena::take_bytes(std::size_t bytes) {
  const std::size_t size = (bytes + 63) / 64 * 64;
  if (size < bytes) throw std::bad_alloc();
  while (block_ < blocks_.size() && size > blocks_[block_].size - used_) {
    ++block_;
    used_ = 0;
  }
  if (block_ == blocks_.size()) {
    const std::size_t room = std::max({size, least_, reserved()});
    std::unique_ptr<std::byte, Free> memory(static_cast<std::byte*>(::operator new(room, border)));
    prefer_large_pages(memory.get(), room);
    blocks_.push_back({std::move(memory), room});
  }
  std::byte* taken = blocks_[block_].memory.get() + used_;
  used_ += size;
  return taken;
}

void Arena::rewind(std::size_t block, std::size_t used) {
  block_ = block;
  used_ = used;
  if (block == 0 && used == 0 && blocks_.size() > 1) {
    least_ = reserved();  // one block that holds it all from now on
    blocks_.clear();
  }
}

std::size_t Arena::reserved() const {
  std::size_t sum = 0;
  for (const Block& block : blocks_) sum += block.size;
  return sum;
}

}  // namespace moebius
