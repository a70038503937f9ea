#include "base/context.h"

#include <cstdio>
#include <string>

#include "base/error.h"
#include "base/mapping_guard.h"

namespace moebius {

LogLevel parse_log_level(std::string_view name) {
  if (name == "debug") return LogLevel::debug;
  if (name == "info") return LogLevel::info;
  if (name == "warn") return LogLevel::warn;
  if (name == "error") return LogLevel::error;
  if (name == "off") return LogLevel::off;
  throw UsageError(fmt::format("--log-level {}: not one of debug, info, warn, error, off", name));
}

void Log::line(std::string_view prefix, std::string_view text) {
  const std::string whole = fmt::format("{}{}\n", prefix, printable(text));
  std::fwrite(whole.data(), 1, whole.size(), stderr);
}

void Context::check_interrupt() const {
  if (const int signal = interrupted()) throw Interrupted(signal);
  check_mapped_files();
}

}  // namespace moebius
