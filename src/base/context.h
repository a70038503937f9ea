// What a job is given instead of globals: log, threads and scratch memory, seed, device, and
// whether to stop.
#pragma once

#include <fmt/format.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "base/staged.h"

namespace moebius {

class ComputeResources;

enum class LogLevel { debug, info, warn, error, off };
constexpr auto names_of(LogLevel) {
  return std::array{"debug", "info", "warn", "error", "off"};
}

/// Receives lines of a log, without newline and safe to print. Called from any thread of the job,
/// and from several at once.
using LogSink = std::function<void(LogLevel level, std::string_view line)>;

/// Writes lines that are at least as severe as its level to a sink; without a sink to stderr.
/// Copies share the sink. Nothing of the program's result ever goes here.
class Log {
 public:
  explicit Log(LogLevel level = LogLevel::info, LogSink sink = {})
      : level_(level), sink_(std::move(sink)) {}

  template <class... Args>
  void debug(fmt::format_string<Args...> format, Args&&... args) const {
    write(LogLevel::debug, format, std::forward<Args>(args)...);
  }
  template <class... Args>
  void info(fmt::format_string<Args...> format, Args&&... args) const {
    write(LogLevel::info, format, std::forward<Args>(args)...);
  }
  template <class... Args>
  void warn(fmt::format_string<Args...> format, Args&&... args) const {
    write(LogLevel::warn, format, std::forward<Args>(args)...);
  }

  LogLevel level() const { return level_; }
  bool shows(LogLevel level) const { return level_ <= level; }
  bool writes_to_stderr() const { return sink_ == nullptr; }
  /// The same sink with another level.
  Log with_level(LogLevel level) const { return Log(level, sink_); }

 private:
  template <class... Args>
  void write(LogLevel level, fmt::format_string<Args...> format, Args&&... args) const {
    if (shows(level)) line(level, fmt::format(format, std::forward<Args>(args)...));
  }
  void line(LogLevel level, std::string_view text) const;

  LogLevel level_;
  LogSink sink_;
};

/// Throws UsageError unless `name` is "cpu", "cuda" or "cuda:N".
void check_device_name(std::string_view name);

/// Handed by reference through every job. Copies share the stop signal, the compute resources and
/// the scratch folder; jobs that run at once in one process have a Context each.
struct Context {
  Context();

  Log log;
  int threads = 1;  ///< to compute with, at least 1
  std::uint64_t seed = 0;
  std::string device = "cpu";  ///< "cpu", "cuda" or "cuda:N"
  /// Number of the signal that asked the job to stop, 0 while none did.
  const std::atomic<int>* stop_signal = nullptr;
  /// Threads and scratch memory of the kernels; `ComputeScope` makes a job's ops use them.
  std::shared_ptr<ComputeResources> compute;
  /// For files that are unpacked while the job runs.
  std::shared_ptr<ScratchFolder> scratch = std::make_shared<ScratchFolder>();

  int interrupted() const { return stop_signal ? stop_signal->load() : 0; }
  /// Throws Interrupted once a stop was asked for, Error once a mapped file became unreadable; call
  /// it between steps of long work.
  void check_interrupt() const;
};

}  // namespace moebius
