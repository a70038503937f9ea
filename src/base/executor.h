// Threads that are passed in: kernels are told on what they run and never start a thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <type_traits>
#include <vector>

#include "base/arena.h"

namespace moebius {

/// Runs work that is cut into pieces on a fixed number of threads, the caller's among them.
///
/// Threads take pieces as they come, so one that shares its processor with other work does fewer,
/// and one that is not running at all is not waited for unless it holds a piece. Between two jobs
/// threads spin for some microseconds and then sleep.
class Executor {
 public:
  /// `threads` at least 1; one thread is no pool at all. Throws std::system_error if one cannot
  /// start.
  explicit Executor(int threads);
  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  /// Calls work(piece, thread) once for every piece in [0, count), the first ones first, and
  /// returns when all are done; what they wrote can then be read. `thread` is below `threads()` and
  /// no two pieces that run at once have the same. `work` must not throw, nor call `run`, but a
  /// piece may wait for one before it (Countdown); only one thread at a time may call it.
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

  /// Memory that the next jobs will read: while thread t has nothing to do it asks for `bytes` of
  /// it, from t times `apart` on. Replaces what was said before.
  void expect(const void* memory, std::int64_t bytes, std::int64_t apart) {
    expected_.store(static_cast<const char*>(memory), std::memory_order_relaxed);
    expected_bytes_.store(bytes, std::memory_order_relaxed);
    expected_apart_.store(apart, std::memory_order_relaxed);
    expectation_.fetch_add(1, std::memory_order_release);
  }

 private:
  using Piece = void (*)(void* callee, std::int64_t piece, int thread) noexcept;
  /// What a thread has yet to ask for.
  struct Expected {
    std::uint32_t number = 0;  ///< of the expectation
    const char *at = nullptr, *end = nullptr;
  };

  void run_pieces(std::int64_t count, Piece piece, void* callee);
  void start(std::uint32_t count, std::int64_t first, Piece piece, void* callee);
  bool take_piece(int thread);
  void serve(int thread);
  void fetch(Expected& expected, int thread) const;
  void stop();

  // The number of the job, and below it how many of its pieces nobody has taken. A piece is taken
  // by counting down, which fails for a job that is over; so what follows can only be read by a
  // thread that holds a piece of the job it belongs to, and the caller does not change it before
  // all pieces are done.
  alignas(64) std::atomic<std::uint64_t> job_{0};
  std::uint32_t count_ = 0;
  std::int64_t first_ = 0;
  Piece piece_ = nullptr;
  void* callee_ = nullptr;
  alignas(64) std::atomic<std::uint32_t> unfinished_{0};
  std::atomic<bool> over_{false};
  // A thread that sees some of these change before the others asks for lines that nobody needs,
  // which does no harm.
  alignas(64) std::atomic<std::uint32_t> expectation_{0};
  std::atomic<const char*> expected_{nullptr};
  std::atomic<std::int64_t> expected_bytes_{0}, expected_apart_{0};
  Expected of_caller_;
  std::vector<std::thread> workers_;
};

/// What has to be done before a piece of a job can go on: other pieces of it count it down.
struct Countdown {
  std::int32_t left;

  void finish(std::int32_t count) {
    const std::atomic_ref<std::int32_t> ref(left);
    if (ref.fetch_sub(count, std::memory_order_acq_rel) == count) ref.notify_all();
  }
  /// Until nothing is left, awake for some microseconds and then asleep; what was done can then be
  /// read.
  void wait();
};

/// Units of work [0, count) for the threads of a job. Each has a range of its own, which it walks
/// in order; one that comes to the end of it goes on with the later half of what another has left.
/// So they walk far at a time, and end together.
class Shares {
 public:
  Shares() = default;
  /// `count` is below 2^32.
  Shares(Arena& arena, std::int64_t count, int threads);

  /// Calls work(begin, end) for what falls to `thread`, `most` units at once at most; returns when
  /// there is none that nobody has taken.
  template <class Work>
  void walk(int thread, std::int64_t most, Work work) const {
    do {
      for (Range own; (own = take(thread, most)).begin < own.end;) work(own.begin, own.end);
    } while (take_over(thread));
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

  /// The range of a thread, which others may change at any time.
  std::atomic_ref<std::uint64_t> slot(int thread) const {
    return std::atomic_ref(slots_[thread].range);
  }
  Range take(int thread, std::int64_t most) const;
  bool take_over(int thread) const;

  Slot* slots_ = nullptr;
  int threads_ = 0;
};

}  // namespace moebius
