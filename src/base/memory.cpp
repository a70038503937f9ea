#include "base/memory.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <fstream>
#include <string>

#include "base/error.h"

namespace moebius {

std::int64_t available_memory() {
  std::ifstream file("/proc/meminfo");
  std::string key;
  std::int64_t kilobytes = 0;
  for (std::string unit; file >> key >> kilobytes; std::getline(file, unit)) {
    if (key == "MemAvailable:") return kilobytes * 1024;
  }
  return 0;
}

void prefer_large_pages(void* memory, std::size_t bytes) {
#if defined(MADV_HUGEPAGE)
  constexpr std::uintptr_t page = std::uintptr_t{2} << 20;
  const auto begin = reinterpret_cast<std::uintptr_t>(memory);
  const std::uintptr_t first = (begin + 4095) / 4096 * 4096, last = (begin + bytes) / 4096 * 4096;
  if (bytes >= page) ::madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
#endif
}

void require_memory(std::int64_t bytes, std::string_view what, std::string_view way_out) {
  const std::int64_t available = available_memory();
  if (available == 0 || bytes <= available) return;
  const auto mib = [](std::int64_t b) { return (b + (1 << 20) - 1) >> 20; };
  throw Error(fmt::format("{} need {} MiB, and {} MiB are free", what, mib(bytes), mib(available)),
              std::string(way_out));
}

}  // namespace moebius
