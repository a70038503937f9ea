// Scratch memory: taken piece by piece, released all at once, and kept for the next use.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <vector>

namespace moebius {

/// A stack allocator of uninitialised memory. After a few rounds of the same work it allocates
/// nothing more. Not thread-safe.
class Arena {
 public:
  /// Releases at its end what was taken during its lifetime.
  class Scope {
   public:
    explicit Scope(Arena& arena) : arena_(arena), block_(arena.block_), used_(arena.used_) {}
    ~Scope() { arena_.rewind(block_, used_); }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Arena& arena_;
    std::size_t block_, used_;
  };

  Arena() = default;
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  /// Memory for `count` values, aligned to 64 bytes. Throws std::bad_alloc.
  template <class T>
  T* take(std::int64_t count) {
    static_assert(std::is_trivially_copyable_v<T> && alignof(T) <= 64);
    return reinterpret_cast<T*>(take_bytes(static_cast<std::size_t>(count) * sizeof(T)));
  }

  /// Bytes allocated from the system.
  std::size_t reserved() const;

 private:
  struct Block {
    std::shared_ptr<std::byte> memory;
    std::size_t size;
  };

  std::byte* take_bytes(std::size_t bytes);
  void rewind(std::size_t block, std::size_t used);

  std::vector<Block> blocks_;
  std::size_t block_ = 0, used_ = 0;  ///< the block in use, and its used bytes
  std::size_t min_block_ = std::size_t{1} << 16;
};

}  // namespace moebius
