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

/// Waits until `value` is no longer `old`: spins for some microseconds, calling `meanwhile`, then
/// sleeps. A sleeping thread leaves its processor to one that holds the last piece and may have
/// been descheduled.
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

/// Prefetches some cache lines, or pauses if none is left.
void Executor::prefetch(Hint& hint, int thread) const {
  constexpr std::ptrdiff_t line = 64, lines = 16;
  const std::uint32_t number = hint_number_.load(std::memory_order_acquire);
  if (number != hint.number) {
    const char* at = hint_.load(std::memory_order_relaxed) +
                     thread * hint_apart_.load(std::memory_order_relaxed);
    hint = {number, at, at + hint_bytes_.load(std::memory_order_relaxed)};
  }
  if (hint.at >= hint.end) return pause();
  for (std::ptrdiff_t i = 0; i < lines; ++i) __builtin_prefetch(hint.at + i * line, 0, 2);
  hint.at += lines * line;
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
  Hint hint;
  while (!over_.load(std::memory_order_relaxed)) {
    const std::uint64_t seen = job_.load(std::memory_order_acquire);
    while (take_piece(thread)) {
    }
    // A job without pieces left does not change until the next one.
    const std::uint64_t now = job_.load(std::memory_order_acquire);
    if (now / next_job == seen / next_job && !over_.load(std::memory_order_relaxed)) {
      wait_for_change(job_, now, [&] { prefetch(hint, thread); });
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
  constexpr std::int64_t max_pieces = std::numeric_limits<std::uint32_t>::max();
  for (std::int64_t first = 0; first < count; first += max_pieces) {
    start(static_cast<std::uint32_t>(std::min(max_pieces, count - first)), first, piece, callee);
    while (take_piece(0)) {
    }
    for (;;) {
      const std::uint32_t left = unfinished_.load(std::memory_order_acquire);
      if (left == 0) break;
      wait_for_change(unfinished_, left, [&] { prefetch(hint_of_caller_, 0); });
    }
  }
}

void Latch::wait() {
  const std::atomic_ref<std::int32_t> ref(left);
  for (std::int32_t now; (now = ref.load(std::memory_order_acquire)) != 0;) {
    wait_for_change(ref, now, pause);
  }
}

WorkRanges::WorkRanges(Arena& arena, std::int64_t count, int threads)
    : slots_(arena.take<Slot>(threads)), threads_(threads) {
  for (int t = 0; t < threads; ++t) {
    slots_[t].range = pack({count * t / threads, count * (t + 1) / threads});
  }
}

/// At most half of what is left of its own, so that others can steal the rest.
WorkRanges::Range WorkRanges::take(int thread, std::int64_t max_units) const {
  for (std::uint64_t seen = slot(thread).load(std::memory_order_relaxed);;) {
    const Range own = unpack(seen);
    if (own.begin == own.end) return own;
    const std::int64_t half = std::max<std::int64_t>(1, (own.end - own.begin) / 2);
    const std::int64_t border = own.begin + std::min(half, max_units);
    if (slot(thread).compare_exchange_weak(seen, pack({border, own.end}),
                                           std::memory_order_relaxed)) {
      return {own.begin, border};
    }
  }
}

bool WorkRanges::steal(int thread) const {
  const auto left_of = [](std::uint64_t packed) {
    const Range range = unpack(packed);
    return range.end - range.begin;
  };
  for (;;) {
    std::uint64_t largest = 0;
    int victim = 0;
    for (int t = 0; t < threads_; ++t) {
      const std::uint64_t range = slot(t).load(std::memory_order_relaxed);
      if (left_of(range) <= left_of(largest)) continue;
      largest = range;
      victim = t;
    }
    const Range range = unpack(largest);
    if (range.begin == range.end) return false;
    const std::int64_t border = range.begin + (range.end - range.begin) / 2;
    if (slot(victim).compare_exchange_weak(largest, pack({range.begin, border}),
                                           std::memory_order_relaxed)) {
      slot(thread).store(pack({border, range.end}), std::memory_order_relaxed);
      return true;
    }
  }
}

}  // namespace moebius
