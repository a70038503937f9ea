#include "base/staged_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "base/error.h"

namespace moebius {
namespace {

fs::path folder_of(const fs::path& path) {
  const fs::path parent = path.parent_path();
  return parent.empty() ? fs::path(".") : parent;
}

/// Opens `path` and locks it; -1 if another process holds it.
int open_locked(const fs::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  if (::flock(fd, LOCK_EX | LOCK_NB) == 0) return fd;
  ::close(fd);
  return -1;
}

/// Removes files that a killed process left in `folder`: their lock is free.
void remove_stale(const fs::path& folder, const std::string& prefix) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    if (!entry.path().filename().string().starts_with(prefix)) continue;
    if (!entry.is_regular_file(ignored)) continue;
    const int fd = open_locked(entry.path());
    if (fd < 0) continue;
    fs::remove(entry.path(), ignored);
    ::close(fd);
  }
}

}  // namespace

void check_output_file(const fs::path& path, bool overwrite) {
  const fs::file_status status = fs::symlink_status(path);
  if (!path.has_filename() || fs::is_directory(path)) {
    throw Error(fmt::format("{}: is a directory", path.string()), "name a file");
  }
  if (!fs::exists(status)) return;
  if (!fs::is_regular_file(status)) fail("{}: exists and is no plain file", path.string());
  if (!overwrite) {
    throw Error(fmt::format("{}: already exists", path.string()),
                "choose another output or add --overwrite");
  }
}

StagedFile::StagedFile(fs::path final_path, bool overwrite)
    : final_(std::move(final_path)), overwrite_(overwrite) {
  check_output_file(final_, overwrite);
  std::error_code error;
  fs::create_directories(folder_of(final_), error);
  if (error) fail("{}: cannot create: {}", folder_of(final_).string(), error.message());
  const std::string prefix = fmt::format(".{}.partial-", final_.filename().string());
  remove_stale(folder_of(final_), prefix);
  staged_ = folder_of(final_) / fmt::format("{}{}", prefix, static_cast<long>(::getpid()));
  file_ = std::make_unique<OutputFile>(staged_);
  lock_ = open_locked(staged_);
}

StagedFile::~StagedFile() {
  std::error_code ignored;
  if (!committed_) fs::remove(staged_, ignored);
  if (lock_ >= 0) ::close(lock_);
}

fs::path StagedFile::directory() const {
  return folder_of(final_);
}

void StagedFile::commit() {
  file_->sync();
  check_output_file(final_, overwrite_);
  if (::rename(staged_.c_str(), final_.c_str()) != 0) {
    fail("{}: cannot rename to: {}", final_.string(), std::strerror(errno));
  }
  committed_ = true;
  const int fd = ::open(folder_of(final_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool synced = fd >= 0 && ::fsync(fd) == 0;
  if (fd >= 0) ::close(fd);
  if (!synced) fail("{}: cannot sync", folder_of(final_).string());
}

ScratchFolder::~ScratchFolder() {
  std::error_code ignored;
  if (!path_.empty()) fs::remove_all(path_, ignored);
}

fs::path ScratchFolder::make(const std::string& name) {
  if (path_.empty()) {
    std::error_code unknown;
    std::string pattern = (fs::temp_directory_path(unknown) / "moebius-XXXXXX").string();
    if (unknown) pattern = "the folder for temporary files";
    if (unknown || ::mkdtemp(pattern.data()) == nullptr) {
      throw Error(fmt::format("{}: cannot create: {}", pattern,
                              unknown ? unknown.message() : std::strerror(errno)),
                  "TMPDIR names another folder for temporary files");
    }
    path_ = pattern;
  }
  fs::path folder = path_ / name;
  if (fs::exists(folder)) folder += fmt::format("-{}", made_);
  ++made_;
  fs::create_directory(folder);
  return folder;
}

}  // namespace moebius
