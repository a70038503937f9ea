#include "base/executor.h"

#include <algorithm>
#include <limits>

namespace moebius {
namespace {

constexpr std::uint64_t pieces_mask = 0xFFFFFFFF;
constexpr std::uint64_t next_job = pieces_mask + 1;

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

/// Waits until `value` is no longer `old`: for some microseconds awake, doing `meanwhile`, then
/// asleep. Asleep it leaves its processor to whoever holds the last piece and may have lost its
/// own.
template <class Value, class T, class Meanwhile>
void wait_for_change(const Value& value, T old, Meanwhile meanwhile) {
  constexpr int spins = 1000;
  for (int i = 0; i < spins; ++i) {
    if (value.load(std::memory_order_acquire) != old) return;
    meanwhile();
  }
  value.wait(old, std::memory_order_acquire);
}

}  // namespace

Executor::Executor(int threads) {
  workers_.reserve(static_cast<std::size_t>(threads));
  try {
    for (int t = 1; t < threads; ++t) workers_.emplace_back([this, t] { serve(t); });
  } catch (...) {
    stop();
    throw;
  }
}

Executor::~Executor() {
  stop();
}

void Executor::stop() {
  over_.store(true, std::memory_order_relaxed);
  job_.fetch_add(next_job, std::memory_order_release);
  job_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

/// Asks for some lines, or waits a moment if nothing is left to ask for.
void Executor::fetch(Expected& expected, int thread) const {
  constexpr std::ptrdiff_t line = 64, lines = 16;
  const std::uint32_t number = expectation_.load(std::memory_order_acquire);
  if (number != expected.number) {
    const char* at = expected_.load(std::memory_order_relaxed) +
                     thread * expected_apart_.load(std::memory_order_relaxed);
    expected = {number, at, at + expected_bytes_.load(std::memory_order_relaxed)};
  }
  if (expected.at >= expected.end) return pause();
  for (std::ptrdiff_t i = 0; i < lines; ++i) __builtin_prefetch(expected.at + i * line, 0, 2);
  expected.at += lines * line;
}

bool Executor::take_piece(int thread) {
  std::uint64_t job = job_.load(std::memory_order_acquire);
  do {
    if ((job & pieces_mask) == 0) return false;
  } while (!job_.compare_exchange_weak(job, job - 1, std::memory_order_acquire));
  const auto left = static_cast<std::uint32_t>(job & pieces_mask);
  piece_(callee_, first_ + (count_ - left), thread);
  if (unfinished_.fetch_sub(1, std::memory_order_acq_rel) == 1) unfinished_.notify_one();
  return true;
}

void Executor::serve(int thread) {
  Expected expected;
  while (!over_.load(std::memory_order_relaxed)) {
    const std::uint64_t seen = job_.load(std::memory_order_acquire);
    while (take_piece(thread)) {
    }
    // A job without pieces left stays what it is until the next one.
    const std::uint64_t now = job_.load(std::memory_order_acquire);
    if (now / next_job == seen / next_job && !over_.load(std::memory_order_relaxed)) {
      wait_for_change(job_, now, [&] { fetch(expected, thread); });
    }
  }
}

void Executor::start(std::uint32_t count, std::int64_t first, Piece piece, void* callee) {
  count_ = count;
  first_ = first;
  piece_ = piece;
  callee_ = callee;
  unfinished_.store(count, std::memory_order_relaxed);
  const std::uint64_t job = job_.load(std::memory_order_relaxed);
  job_.store((job / next_job + 1) * next_job + count, std::memory_order_release);
  job_.notify_all();
}

void Executor::run_pieces(std::int64_t count, Piece piece, void* callee) {
  if (workers_.empty() || count <= 1) {
    for (std::int64_t i = 0; i < count; ++i) piece(callee, i, 0);
    return;
  }
  constexpr std::int64_t most = std::numeric_limits<std::uint32_t>::max();
  for (std::int64_t first = 0; first < count; first += most) {
    start(static_cast<std::uint32_t>(std::min(most, count - first)), first, piece, callee);
    while (take_piece(0)) {
    }
    for (;;) {
      const std::uint32_t left = unfinished_.load(std::memory_order_acquire);
      if (left == 0) break;
      wait_for_change(unfinished_, left, [&] { fetch(of_caller_, 0); });
    }
  }
}

void Countdown::wait() {
  const std::atomic_ref<std::int32_t> ref(left);
  for (std::int32_t now; (now = ref.load(std::memory_order_acquire)) != 0;) {
    wait_for_change(ref, now, pause);
  }
}

Shares::Shares(Arena& arena, std::int64_t count, int threads)
    : slots_(arena.take<Slot>(threads)), threads_(threads) {
  for (int t = 0; t < threads; ++t) {
    slots_[t].range = pack({count * t / threads, count * (t + 1) / threads});
  }
}

/// Half of what is left of its own at most, so that others can take the rest.
Shares::Range Shares::take(int thread, std::int64_t most) const {
  for (std::uint64_t seen = slot(thread).load(std::memory_order_relaxed);;) {
    const Range own = unpack(seen);
    if (own.begin == own.end) return own;
    const std::int64_t half = std::max<std::int64_t>(1, (own.end - own.begin) / 2);
    const std::int64_t border = own.begin + std::min(half, most);
    if (slot(thread).compare_exchange_weak(seen, pack({border, own.end}),
                                           std::memory_order_relaxed)) {
      return {own.begin, border};
    }
  }
}

bool Shares::take_over(int thread) const {
  const auto left_of = [](std::uint64_t packed) {
    const Range range = unpack(packed);
    return range.end - range.begin;
  };
  for (;;) {
    std::uint64_t most = 0;
    int victim = 0;
    for (int t = 0; t < threads_; ++t) {
      const std::uint64_t range = slot(t).load(std::memory_order_relaxed);
      if (left_of(range) <= left_of(most)) continue;
      most = range;
      victim = t;
    }
    const Range range = unpack(most);
    if (range.begin == range.end) return false;
    const std::int64_t border = range.begin + (range.end - range.begin) / 2;
    if (slot(victim).compare_exchange_weak(most, pack({range.begin, border}),
                                           std::memory_order_relaxed)) {
      slot(thread).store(pack({border, range.end}), std::memory_order_relaxed);
      return true;
    }
  }
}

}  // namespace moebius
