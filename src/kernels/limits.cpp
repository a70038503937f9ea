#include "kernels/limits.h"

#include <algorithm>
#include <atomic>
#include <chrono>

#include "base/arena.h"

namespace moebius::kernels {
namespace {

using Clock = std::chrono::steady_clock;

/// Seconds that all threads take for one piece of work each, the least of several tries.
template <class Work>
double best_seconds(Executor& executor, int tries, Work work) {
  double best = 1e30;
  for (int i = 0; i < tries; ++i) {
    const auto start = Clock::now();
    executor.run(executor.threads(), work);
    best = std::min(best, std::chrono::duration<double>(Clock::now() - start).count());
  }
  return best;
}

double peak(const KernelTable& table, Executor& executor, PackedType type) {
  constexpr std::int64_t rounds = 200'000;
  std::atomic<std::int64_t> operations{0};
  const double seconds =
      best_seconds(executor, 8, [&](std::int64_t, int) { operations = table.peak(type, rounds); });
  return static_cast<double>(operations * executor.threads()) / seconds / 1e9;
}

double read_speed(const KernelTable& table, Executor& executor) {
  constexpr std::int64_t bytes = std::int64_t{512} << 20;
  Arena arena;
  auto* memory = arena.take<std::byte>(bytes);
  std::fill_n(memory, bytes, std::byte{1});
  const std::int64_t share = bytes / executor.threads() / 64 * 64;
  std::atomic<std::uint64_t> sum{0};  // keeps the reading from being left out
  const double seconds = best_seconds(executor, 8, [&](std::int64_t piece, int) {
    sum += table.read(memory + piece * share, share);
  });
  return static_cast<double>(share * executor.threads()) / seconds / 1e9;
}

}  // namespace

Limits measure_limits(const KernelTable& table, Executor& executor) {
  return {read_speed(table, executor), peak(table, executor, PackedType::f32),
          peak(table, executor, PackedType::bf16), peak(table, executor, PackedType::int8)};
}

}  // namespace moebius::kernels
