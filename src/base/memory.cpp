#include "base/memory.h"

#include <fmt/format.h>

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

void require_memory(std::int64_t bytes, std::string_view what, std::string_view way_out) {
  const std::int64_t available = available_memory();
  if (available == 0 || bytes <= available) return;
  const auto mib = [](std::int64_t b) { return (b + (1 << 20) - 1) >> 20; };
  throw Error(fmt::format("{} need {} MiB, and {} MiB are free", what, mib(bytes), mib(available)),
              std::string(way_out));
}

}  // namespace moebius
