// What travels with every job instead of globals: logger, threads, seed, and whether to stop.
#pragma once

#include <fmt/format.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "base/staged.h"

namespace moebius {

enum class LogLevel { debug, info, warn, error, off };

/// Parses `debug|info|warn|error|off`; throws UsageError on anything else.
LogLevel parse_log_level(std::string_view name);

/// Lines on stderr. Nothing of the program's result ever goes here.
class Log {
 public:
  explicit Log(LogLevel level = LogLevel::info) : level_(level) {}

  template <class... Args>
  void debug(fmt::format_string<Args...> format, Args&&... args) const {
    if (level_ <= LogLevel::debug) line("", fmt::format(format, std::forward<Args>(args)...));
  }
  template <class... Args>
  void info(fmt::format_string<Args...> format, Args&&... args) const {
    if (level_ <= LogLevel::info) line("", fmt::format(format, std::forward<Args>(args)...));
  }
  template <class... Args>
  void warn(fmt::format_string<Args...> format, Args&&... args) const {
    if (level_ <= LogLevel::warn) {
      line("warning: ", fmt::format(format, std::forward<Args>(args)...));
    }
  }
  LogLevel level() const { return level_; }

 private:
  static void line(std::string_view prefix, std::string_view text);
  LogLevel level_;
};

/// Handed by reference through every job.
struct Context {
  Log log;
  int threads = 1;
  std::uint64_t seed = 0;
  std::string device = "cpu";  ///< "cpu", "cuda" or "cuda:N"
  /// Number of the signal that asked the program to stop, 0 while none did.
  const std::atomic<int>* stop_signal = nullptr;
  /// For what has to be unpacked while the job runs.
  std::shared_ptr<ScratchFolder> scratch = std::make_shared<ScratchFolder>();

  int interrupted() const { return stop_signal ? stop_signal->load() : 0; }
  /// Throws Interrupted once a stop was asked for, Error once a mapped file became unreadable; call
  /// it between steps of long work.
  void check_interrupt() const;
};

}  // namespace moebius
