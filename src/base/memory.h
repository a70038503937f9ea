// How much memory is available, and allocation of large blocks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

namespace moebius {

/// Memory that the system reports as available, in bytes; 0 if unknown.
std::int64_t available_memory();

/// Resident memory of this process, in bytes; 0 if unknown.
std::int64_t resident_memory();

/// The peak of the resident memory so far.
std::int64_t peak_memory();

/// Uninitialised memory, in huge pages where the system has them, from which sequential reads are
/// up to twice as fast. Throws std::bad_alloc.
std::shared_ptr<std::byte> large_memory(std::int64_t bytes);

/// Allocates pieces from blocks of growing size. A piece keeps its block alive.
class MemoryBlocks {
 public:
  /// Aligned to 64 bytes.
  std::shared_ptr<std::byte> take(std::int64_t bytes);

 private:
  std::shared_ptr<std::byte> block_;
  std::int64_t used_ = 0, size_ = 0;
};

/// Throws Error that names `what`, how much it needs and how much is available, unless that
/// suffices or is unknown (0).
void require_memory(std::int64_t bytes, std::string_view what, std::string_view way_out,
                    std::int64_t available = available_memory());

}  // namespace moebius
