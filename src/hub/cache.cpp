#include "hub/cache.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include "base/error.h"
#include "base/staged.h"

namespace moebius::hub {
namespace {

void make_folder(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) {
    throw Error(fmt::format("{}: cannot create: {}", folder.string(), error.message()),
                "HF_HUB_CACHE names another place");
  }
}

}  // namespace

FileLock::FileLock(const fs::path& file, const Context& ctx) {
  make_folder(file.parent_path());
  fd_ = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
  if (fd_ < 0) fail("{}: cannot open: {}", file.string(), std::strerror(errno));
  try {
    while (::flock(fd_, LOCK_EX | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK && errno != EINTR) {
        fail("{}: cannot lock: {}", file.string(), std::strerror(errno));
      }
      ctx.check_interrupt();
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
  } catch (...) {
    ::close(fd_);
    throw;
  }
}

FileLock::~FileLock() {
  ::close(fd_);
}

Cache::Cache(const fs::path& root, const Name& name) {
  const std::string folder = fmt::format("models--{}--{}", name.org, name.name);
  folder_ = root / folder;
  locks_ = root / ".locks" / folder;
}

std::optional<fs::path> Cache::find(const std::string& revision) const {
  std::string commit = revision;
  if (!is_commit(revision)) {
    const fs::path ref = folder_ / "refs" / revision;
    std::error_code unknown;
    if (!fs::is_regular_file(ref, unknown)) return {};
    commit = trimmed(read_file(ref, 4096));
    if (!is_commit(commit)) {
      throw Error(fmt::format("{}: does not hold a commit", ref.string()), "remove this file");
    }
  }
  std::error_code unknown;
  if (!fs::is_directory(snapshot(commit), unknown)) return {};
  return snapshot(commit);
}

fs::path Cache::lock_file(std::string_view etag) const {
  return locks_ / fmt::format("{}.lock", etag);
}

void Cache::link(std::string_view commit, std::string_view file, std::string_view etag) const {
  const fs::path link = snapshot(commit) / file, folder = link.parent_path();
  make_folder(folder);
  // Created under another name and renamed, since FILE may be a dangling link.
  const fs::path aside =
      folder / fmt::format(".{}.{}", link.filename().string(), static_cast<long>(::getpid()));
  std::error_code error;
  fs::remove(aside, error);
  fs::create_symlink((folder_ / "blobs" / etag).lexically_relative(folder), aside, error);
  if (!error) fs::rename(aside, link, error);
  if (error) fail("{}: cannot link: {}", link.string(), error.message());
}

void Cache::write_ref(const std::string& revision, std::string_view commit) const {
  if (is_commit(revision)) return;
  const fs::path ref = folder_ / "refs" / revision;
  make_folder(ref.parent_path());
  write_file_atomically(ref, commit);
}

}  // namespace moebius::hub
