#include "base/mapping_guard.h"

#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <cstdint>
#include <mutex>

#include "base/error.h"

namespace moebius {
namespace {

/// Read by a signal handler: `begin` is set last and cleared first. One that finds no place is not
/// guarded.
struct Mapping {
  std::atomic<std::uintptr_t> begin = 0, end = 0;
  std::string name;
};
std::array<Mapping, 4096> mappings;
std::mutex changing;

std::array<char, 4096> lost_name;  // complete once `lost` is
std::atomic<bool> losing{false}, lost{false};
static_assert(std::atomic<bool>::is_always_lock_free &&
                  std::atomic<std::uintptr_t>::is_always_lock_free,
              "used in a signal handler");

void remember_lost(const std::string& name) {
  if (losing.exchange(true)) return;
  name.copy(lost_name.data(), lost_name.size() - 1);
  lost = true;
}

void on_bus_error(int signal, siginfo_t* info, void*) {
  if (give_up_mapping_from(info->si_addr)) return;
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

}  // namespace

void guard_mapped_files() {
  struct sigaction action {};
  action.sa_sigaction = on_bus_error;
  action.sa_flags = SA_SIGINFO;
  ::sigaction(SIGBUS, &action, nullptr);
}

void check_mapped_files() {
  if (!lost) return;
  throw Error(
      fmt::format("{}: became shorter while it was read, or its disk fails", lost_name.data()),
      "leave the file alone and start again");
}

void guard_mapping(std::span<const std::byte> mapping, const std::string& name) {
  const std::scoped_lock lock(changing);
  for (Mapping& each : mappings) {
    if (each.begin != 0) continue;
    const auto begin = reinterpret_cast<std::uintptr_t>(mapping.data());
    each.name = name;
    each.end = begin + mapping.size();
    each.begin = begin;
    return;
  }
}

void forget_mapping(std::span<const std::byte> mapping) {
  const std::scoped_lock lock(changing);
  for (Mapping& each : mappings) {
    if (each.begin == reinterpret_cast<std::uintptr_t>(mapping.data())) each.begin = 0;
  }
}

bool give_up_mapping_from(const void* address) {
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto at = reinterpret_cast<std::uintptr_t>(address);
  for (const Mapping& each : mappings) {
    const std::uintptr_t begin = each.begin, end = each.end;
    if (begin == 0 || at < begin || at >= end) continue;
    const std::uintptr_t from = at - at % page;
    void* zeros = ::mmap(reinterpret_cast<void*>(from), end - from, PROT_READ,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    if (zeros == MAP_FAILED) return false;
    remember_lost(each.name);
    return true;
  }
  return false;
}

}  // namespace moebius
