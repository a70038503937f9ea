// How much memory there is, and large pieces of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

namespace moebius {

/// Memory that the system says it could give, in bytes; 0 if it says nothing.
std::int64_t available_memory();

/// Memory of this process that is resident, in bytes; 0 if the system says nothing.
std::int64_t resident_memory();

/// The most that ever was.
std::int64_t peak_memory();

/// Uninitialised memory, in large pages where the system has them: what is read from end to end is
/// read up to twice as fast from those. Throws std::bad_alloc.
std::shared_ptr<std::byte> large_memory(std::int64_t bytes);

/// Memory taken piece by piece from ever larger blocks. A piece keeps its block.
class MemoryBlocks {
 public:
  /// On a border of 64 bytes.
  std::shared_ptr<std::byte> take(std::int64_t bytes);

 private:
  std::shared_ptr<std::byte> block_;
  std::int64_t used_ = 0, size_ = 0;
};

/// Throws Error that names `what`, how much it needs and how much there is, unless that suffices or
/// is not known (0).
void require_memory(std::int64_t bytes, std::string_view what, std::string_view way_out,
                    std::int64_t available = available_memory());

}  // namespace moebius
