// Progress of long work in a job's log: a bar with rate and time left if the log goes to a
// terminal, else a line every ten seconds.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/context.h"

namespace moebius {

/// Shown at log level info and below.
class Progress {
 public:
  /// `total` in units of `unit`, for example "steps", "tokens" or "MB".
  Progress(const Context& ctx, std::string title, double total, std::string unit);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// `done` of `total`; `note` follows the figures, for example a loss.
  void update(double done, std::string_view note = {});

 private:
  using Clock = std::chrono::steady_clock;

  void draw_bar(double share, std::string_view figures);

  Log log_;
  bool terminal_, open_line_ = false;
  std::string title_, unit_;
  double total_;
  Clock::time_point start_, last_;
};

}  // namespace moebius
