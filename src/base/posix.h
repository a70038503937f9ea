// What the files that talk to the system share.
#pragma once

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "base/files.h"

namespace moebius {

/// Throws Error with what the last system call said, and the way out where there is one.
[[noreturn]] inline void fail_system(std::string_view action, const fs::path& path) {
  const int code = errno;
  std::string hint;
  if (code == ENOSPC || code == EDQUOT) hint = "free some space or choose another output";
  if (code == EACCES || code == EROFS || code == EPERM) hint = "check the permissions";
  throw Error(fmt::format("{}: {}: {}", path.string(), action, std::strerror(code)), hint);
}

/// Owns an open file.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

}  // namespace moebius
