// Splitting a range over threads, for work outside LibTorch.
#pragma once

#include <cstddef>
#include <exception>
#include <thread>
#include <vector>

namespace moebius {

/// Calls `fn(begin, end)` on disjoint parts of [0, count) from up to `threads` threads; rethrows
/// the first exception. The parts depend on `threads`, so results must not depend on the parts.
template <class Fn>
void parallel_for(std::size_t count, int threads, Fn&& fn) {
  constexpr std::size_t smallest = 1 << 14;
  const std::size_t parts = std::max<std::size_t>(
      1, std::min<std::size_t>(static_cast<std::size_t>(threads), count / smallest));
  if (parts == 1) return fn(std::size_t{0}, count);
  std::vector<std::exception_ptr> errors(parts);
  {
    std::vector<std::jthread> workers;
    for (std::size_t p = 0; p < parts; ++p) {
      workers.emplace_back([&, p] {
        try {
          fn(count * p / parts, count * (p + 1) / parts);
        } catch (...) {
          errors[p] = std::current_exception();
        }
      });
    }
  }
  for (const auto& error : errors) {
    if (error) std::rethrow_exception(error);
  }
}

}  // namespace moebius
