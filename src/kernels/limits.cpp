#include "kernels/limits.h"

#include <algorithm>
#include <atomic>

#include "base/clock.h"

namespace moebius::kernels {
namespace {

constexpr std::int64_t memory_bytes = std::int64_t{256} << 20;

}  // namespace

LimitMeter::LimitMeter(const KernelTable& table, Executor& executor)
    : table_(table), executor_(executor), memory_(arena_.take<std::byte>(memory_bytes)) {
  std::fill_n(memory_, memory_bytes, std::byte{1});
}

double LimitMeter::peak(PackedType type) {
  constexpr std::int64_t rounds = 1'000'000;
  std::atomic<std::int64_t> operations{0};
  const auto start = Clock::now();
  executor_.run(executor_.threads(),
                [&](std::int64_t, int) { operations = table_.peak(type, rounds); });
  return static_cast<double>(operations * executor_.threads()) / seconds_since(start) / 1e9;
}

double LimitMeter::read_speed() {
  const std::int64_t share = memory_bytes / executor_.threads() / 64 * 64;
  std::atomic<std::uint64_t> sum{0};  // keeps the reading from being left out
  const auto start = Clock::now();
  executor_.run(executor_.threads(), [&](std::int64_t piece, int) {
    sum += table_.read(memory_ + piece * share, share);
  });
  return static_cast<double>(share * executor_.threads()) / seconds_since(start) / 1e9;
}

Limits LimitMeter::sample() {
  return {read_speed(), peak(PackedType::f32), peak(PackedType::bf16), peak(PackedType::int8)};
}

}  // namespace moebius::kernels
