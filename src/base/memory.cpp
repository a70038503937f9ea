#include "base/memory.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <fstream>
#include <new>
#include <string>

#include "base/error.h"

namespace moebius {
namespace {

/// The row of a file of the kernel that begins with `name`, which counts in kB; 0 without it.
std::int64_t bytes_of_row(const char* path, std::string_view name) {
  std::ifstream file(path);
  for (std::string row; std::getline(file, row);) {
    if (row.starts_with(name)) return std::stoll(row.substr(name.size())) * 1024;
  }
  return 0;
}

}  // namespace

std::int64_t available_memory() {
  return bytes_of_row("/proc/meminfo", "MemAvailable:");
}

std::int64_t resident_memory() {
  return bytes_of_row("/proc/self/status", "VmRSS:");
}

std::int64_t peak_memory() {
  return bytes_of_row("/proc/self/status", "VmHWM:");
}

std::shared_ptr<std::byte> large_memory(std::int64_t bytes) {
  constexpr std::size_t page = std::size_t{2} << 20;
  const auto size = static_cast<std::size_t>(bytes);
  const std::align_val_t border{size >= page ? page : 64};
  auto* memory = static_cast<std::byte*>(::operator new(size, border));
#if defined(MADV_HUGEPAGE)
  if (size >= page) ::madvise(memory, size / 4096 * 4096, MADV_HUGEPAGE);
#endif
  return {memory, [border](std::byte* m) { ::operator delete(m, border); }};
}

std::shared_ptr<std::byte> MemoryBlocks::take(std::int64_t bytes) {
  constexpr std::int64_t border = 64, least = 1 << 20, most = 64 << 20;
  const std::int64_t needed = (bytes + border - 1) / border * border;
  if (needed > size_ - used_) {
    size_ = std::max(needed, std::clamp(2 * size_, least, most));
    block_ = large_memory(size_);
    used_ = 0;
  }
  used_ += needed;
  return {block_, block_.get() + used_ - needed};
}

void require_memory(std::int64_t bytes, std::string_view what, std::string_view way_out,
                    std::int64_t available) {
  if (available == 0 || bytes <= available) return;
  const auto mib = [](std::int64_t b) { return (b + (1 << 20) - 1) >> 20; };
  throw Error(fmt::format("{} need {} MiB, and {} MiB are free", what, mib(bytes), mib(available)),
              std::string(way_out));
}

}  // namespace moebius
