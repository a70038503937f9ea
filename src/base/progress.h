// Progress of long work on stderr: a bar with rate and time left on a terminal, a plain line now
// and then elsewhere.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/context.h"

namespace moebius {

class Progress {
 public:
  /// `total` in units of `unit`, for example "steps", "tokens" or "MB".
  Progress(const Context& ctx, std::string title, double total, std::string unit);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// `note` stands behind the figures, for example a loss.
  void update(double done, std::string_view note = {});

 private:
  using Clock = std::chrono::steady_clock;
  bool shown_, terminal_, open_line_ = false;
  std::string title_, unit_;
  double total_;
  Clock::time_point start_, last_;
};

}  // namespace moebius
