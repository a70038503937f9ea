// One exception type for everything a user can meet: what went wrong, and where possible the way
// out.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace moebius {

/// The work failed (exit code 1). `what()` names the file, tensor, line or option; `hint()` may
/// name the fix and is empty otherwise.
class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& what, std::string hint = {})
      : std::runtime_error(what), hint_(std::move(hint)) {}
  const std::string& hint() const { return hint_; }

 private:
  std::string hint_;
};

/// Wrong usage of the command line or a configuration file (exit code 2).
class UsageError : public Error {
 public:
  using Error::Error;
};

/// Thrown by `Context::check_interrupt` after SIGINT or SIGTERM (exit code 128 + signal).
class Interrupted : public std::exception {
 public:
  explicit Interrupted(int signal) : signal_(signal) {}
  int signal() const { return signal_; }
  const char* what() const noexcept override { return "interrupted"; }

 private:
  int signal_;
};

/// Throws Error with a message in fmt's syntax.
template <class... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(fmt::format(format, std::forward<Args>(args)...));
}

/// `text` on one line that cannot steer a terminal: control characters, which names from outside
/// may hold, become \xNN.
std::string printable(std::string_view text);

}  // namespace moebius
