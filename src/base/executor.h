// A thread pool that is passed in: kernels never start a thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <type_traits>
#include <vector>

#include "base/arena.h"

namespace moebius {

/// Runs jobs that are divided into pieces on a fixed number of threads, the caller's among them.
///
/// Threads take pieces dynamically, so a thread that shares its processor with other work does
/// fewer, and one that is not scheduled at all is not waited for unless it holds a piece. Between
/// two jobs threads spin for some microseconds and then sleep.
class Executor {
 public:
  /// `threads` is at least 1; with 1 the caller runs everything. Throws std::system_error if a
  /// thread cannot start.
  explicit Executor(int threads);
  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  /// Calls work(piece, thread) once for every piece in [0, count), started in this order, and
  /// returns when all are done; their writes are then visible. `thread` is below `threads()` and
  /// distinct among concurrent pieces. `work` must not throw nor call `run`; a piece may wait for
  /// an earlier one (Latch). Only one thread at a time may call it.
  template <class Work>
  void run(std::int64_t count, Work&& work) {
    using Callee = std::remove_reference_t<Work>;
    run_pieces(
        count,
        [](void* callee, std::int64_t piece, int thread) noexcept {
          (*static_cast<Callee*>(callee))(piece, thread);
        },
        const_cast<void*>(static_cast<const void*>(&work)));
  }

  /// A prefetch hint: while thread t is idle it prefetches `bytes` of memory that the next jobs
  /// will read, from offset t `apart` on. Replaces the hint before.
  void prefetch_when_idle(const void* memory, std::int64_t bytes, std::int64_t apart) {
    hint_.store(static_cast<const char*>(memory), std::memory_order_relaxed);
    hint_bytes_.store(bytes, std::memory_order_relaxed);
    hint_apart_.store(apart, std::memory_order_relaxed);
    hint_number_.fetch_add(1, std::memory_order_release);
  }

 private:
  using Piece = void (*)(void* callee, std::int64_t piece, int thread) noexcept;
  /// What a thread has yet to prefetch.
  struct Hint {
    std::uint32_t number = 0;
    const char *at = nullptr, *end = nullptr;
  };

  void run_pieces(std::int64_t count, Piece piece, void* callee);
  void start(std::uint32_t count, std::int64_t first, Piece piece, void* callee);
  bool take_piece(int thread);
  void serve(int thread);
  void prefetch(Hint& hint, int thread) const;
  void stop();

  // High half: the number of the job; low half: its pieces that are not taken yet. A piece is taken
  // by a compare-and-swap that counts down, which fails for a job that is over. So the next members
  // are only read by a thread that holds a piece of their job, and the caller does not change them
  // before all pieces are done.
  alignas(64) std::atomic<std::uint64_t> job_{0};
  std::uint32_t count_ = 0;
  std::int64_t first_ = 0;
  Piece piece_ = nullptr;
  void* callee_ = nullptr;
  alignas(64) std::atomic<std::uint32_t> unfinished_{0};
  std::atomic<bool> over_{false};
  // A thread that sees some of these change before the others prefetches useless cache lines, which
  // does no harm.
  alignas(64) std::atomic<std::uint32_t> hint_number_{0};
  std::atomic<const char*> hint_{nullptr};
  std::atomic<std::int64_t> hint_bytes_{0}, hint_apart_{0};
  Hint hint_of_caller_;
  std::vector<std::thread> workers_;
};

/// A latch in memory of an arena: pieces of a job wait until other pieces have counted it down.
struct Latch {
  std::int32_t left;

  void count_down(std::int32_t count) {
    const std::atomic_ref<std::int32_t> ref(left);
    if (ref.fetch_sub(count, std::memory_order_acq_rel) == count) ref.notify_all();
  }
  /// Waits until nothing is left, spinning for some microseconds and then asleep; writes before the
  /// counting down are then visible.
  void wait();
};

/// Work stealing over units of work [0, count): each thread starts with a contiguous range of its
/// own, which it processes in order; a thread that has finished its range steals the later half of
/// what another has left. So threads read memory in long sequential runs, and end together.
class WorkRanges {
 public:
  WorkRanges() = default;
  /// `count` is below 2^32.
  WorkRanges(Arena& arena, std::int64_t count, int threads);

  /// Calls work(begin, end) for units of `thread`, own and stolen, at most `max_units` at once;
  /// returns when all units are taken.
  template <class Work>
  void run(int thread, std::int64_t max_units, Work work) const {
    do {
      for (Range own; (own = take(thread, max_units)).begin < own.end;) work(own.begin, own.end);
    } while (steal(thread));
  }

 private:
  struct Range {
    std::int64_t begin, end;
  };
  struct alignas(64) Slot {
    std::uint64_t range;  ///< begin, end
  };
  static std::uint64_t pack(Range range) {
    return static_cast<std::uint64_t>(range.begin) << 32 | static_cast<std::uint64_t>(range.end);
  }
  static Range unpack(std::uint64_t range) {
    return {static_cast<std::int64_t>(range >> 32), static_cast<std::int64_t>(range & 0xFFFFFFFF)};
  }

  /// The range of a thread; others may steal from it at any time.
  std::atomic_ref<std::uint64_t> slot(int thread) const {
    return std::atomic_ref(slots_[thread].range);
  }
  Range take(int thread, std::int64_t max_units) const;
  bool steal(int thread) const;

  Slot* slots_ = nullptr;
  int threads_ = 0;
};

}  // namespace moebius
