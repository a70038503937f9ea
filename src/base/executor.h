// Threads that are passed in: kernels are told on what they run and never start a thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <type_traits>
#include <vector>

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
  /// no two pieces that run at once have the same. `work` must not throw, nor call `run`; only one
  /// thread at a time may call it.
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

  /// Memory that the next jobs will read: threads that have nothing to do ask for it. Replaces what
  /// was said before.
  void expect(const void* memory, std::int64_t bytes) {
    const auto* begin = static_cast<const char*>(memory);
    expected_end_.store(nullptr, std::memory_order_relaxed);
    expected_.store(begin, std::memory_order_relaxed);
    expected_end_.store(begin + bytes, std::memory_order_relaxed);
  }

 private:
  using Piece = void (*)(void* callee, std::int64_t piece, int thread) noexcept;

  void run_pieces(std::int64_t count, Piece piece, void* callee);
  void start(std::uint32_t count, std::int64_t first, Piece piece, void* callee);
  bool take_piece(int thread);
  void serve(int thread);
  bool fetch_expected();
  template <class T>
  void wait_for_change(const std::atomic<T>& value, T old);
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
  // What is left of what is expected. A thread that sees one of the two change before the other
  // asks for lines that nobody needs, which does no harm.
  alignas(64) std::atomic<const char*> expected_{nullptr}, expected_end_{nullptr};
  std::vector<std::thread> workers_;
};

}  // namespace moebius
