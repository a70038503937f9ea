#include "base/files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/error.h"
#include "base/mapping_guard.h"

namespace moebius {
namespace {

[[noreturn]] void fail_system(std::string_view action, const fs::path& path) {
  const int code = errno;
  std::string hint;
  if (code == ENOSPC || code == EDQUOT) hint = "free some space or choose another output";
  if (code == EACCES || code == EROFS || code == EPERM) hint = "check the permissions";
  throw Error(fmt::format("{}: {}: {}", path.string(), action, std::strerror(code)), hint);
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

/// Whether a write failed because its source is a mapped file that was cut short; it may go on
/// then, with zeros.
bool is_unreadable(const void* source) {
  return errno == EFAULT && give_up_mapping_from(source);
}

void sync_directory(const fs::path& path) {
  const Descriptor fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd.get() < 0 || ::fsync(fd.get()) != 0) fail_system("cannot sync", path);
}

fs::path parent_of(const fs::path& path) {
  const fs::path parent = path.parent_path();
  return parent.empty() ? fs::path(".") : parent;
}

fs::path without_trailing_slash(fs::path path) {
  return path.has_filename() ? path : path.parent_path();
}

/// Removes directories that a killed process left beside `final_path`: their lock is free.
void remove_stale_stages(const fs::path& final_path) {
  const std::string prefix = fmt::format(".{}.partial-", final_path.filename().string());
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(parent_of(final_path), ignored)) {
    if (!entry.path().filename().string().starts_with(prefix)) continue;
    const Descriptor fd(::open(entry.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (fd.get() >= 0 && ::flock(fd.get(), LOCK_EX | LOCK_NB) == 0) {
      fs::remove_all(entry.path(), ignored);
    }
  }
}

bool is_own_output(const fs::path& path) {
  if (!fs::is_directory(path)) return false;
  if (fs::is_empty(path)) return true;
  for (const char* name : {"config.json", "config.yaml", "tokenizer.json", "general.train.jsonl"}) {
    if (fs::exists(path / name)) return true;
  }
  return false;
}

}  // namespace

std::shared_ptr<const MappedFile> MappedFile::open(const fs::path& path) {
  const Descriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.get() < 0) fail_system("cannot open", path);
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) fail_system("cannot read", path);
  if (!S_ISREG(status.st_mode)) fail("{}: not a regular file", path.string());
  const auto size = static_cast<std::size_t>(status.st_size);
  if (size == 0) return of_memory(path, {});
  void* mapped = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd.get(), 0);
  if (mapped == MAP_FAILED) fail_system("cannot map", path);
  const std::span bytes(static_cast<const std::byte*>(mapped), size);
  return std::shared_ptr<const MappedFile>(new MappedFile(path, bytes, /*mapped=*/true));
}

std::shared_ptr<const MappedFile> MappedFile::of_memory(fs::path name,
                                                        std::span<const std::byte> bytes) {
  return std::shared_ptr<const MappedFile>(
      new MappedFile(std::move(name), bytes, /*mapped=*/false));
}

MappedFile::MappedFile(fs::path path, std::span<const std::byte> bytes, bool mapped)
    : path_(std::move(path)), bytes_(bytes), mapped_(mapped) {
  if (mapped_) guard_mapping(bytes_, path_.string());
}

MappedFile::~MappedFile() {
  if (!mapped_) return;
  forget_mapping(bytes_);
  ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

std::string read_file(const fs::path& path, std::size_t limit) {
  const Descriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.get() < 0) fail_system("cannot open", path);
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) fail_system("cannot read", path);
  if (S_ISDIR(status.st_mode)) fail("{}: is a directory, a file was expected", path.string());
  std::string content;
  char buffer[1 << 16];
  for (;;) {
    const ssize_t got = ::read(fd.get(), buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail_system("cannot read", path);
    if (got == 0) return content;
    content.append(buffer, static_cast<std::size_t>(got));
    if (content.size() > limit) fail("{}: larger than {} bytes", path.string(), limit);
  }
}

std::optional<DirectoryState::State> DirectoryState::look_at(const fs::path& file) {
  struct stat found {};
  if (::stat(file.c_str(), &found) != 0 || !S_ISREG(found.st_mode)) return std::nullopt;
  return State{found.st_dev, found.st_ino, found.st_size, found.st_mtim.tv_sec,
               found.st_mtim.tv_nsec};
}

DirectoryState::DirectoryState(const fs::path& directory) {
  std::error_code ignored;  // whoever reads the files will say what is wrong
  for (const auto& entry : fs::directory_iterator(directory, ignored)) {
    if (entry.path().filename().string().starts_with('.')) continue;
    if (const auto state = look_at(entry.path())) files_.emplace(entry.path(), *state);
  }
}

void DirectoryState::check_unchanged() const {
  for (const auto& [file, state] : files_) {
    if (look_at(file) == state) continue;
    throw Error(fmt::format("{}: changed while it was read", file.string()),
                "leave the file alone and start again");
  }
}

OutputFile::OutputFile(fs::path path, Mode mode) : path_(std::move(path)) {
  const int how = mode == Mode::append ? O_APPEND : O_TRUNC;
  fd_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | how | O_CLOEXEC, 0644);
  if (fd_ < 0) fail_system("cannot create", path_);
}

OutputFile::OutputFile(OutputFile&& other) noexcept
    : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)) {}

OutputFile::~OutputFile() {
  if (fd_ >= 0) ::close(fd_);
}

void OutputFile::append(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd_, bytes.data(), bytes.size());
    if (written < 0 && (errno == EINTR || is_unreadable(bytes.data()))) continue;
    if (written < 0) fail_system("cannot write", path_);
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
}

void OutputFile::write_at(std::size_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (written < 0 && (errno == EINTR || is_unreadable(bytes.data()))) continue;
    if (written < 0) fail_system("cannot write", path_);
    bytes = bytes.subspan(static_cast<std::size_t>(written));
    offset += static_cast<std::size_t>(written);
  }
}

void OutputFile::sync() {
  if (::fsync(fd_) != 0) fail_system("cannot sync", path_);
}

void check_free_space(const fs::path& directory, std::size_t bytes) {
  std::error_code unknown;
  const fs::space_info space = fs::space(directory, unknown);
  if (unknown || space.available >= bytes) return;
  throw Error(
      fmt::format("{}: {:.3f} GB are needed, {:.3f} GB are free", directory.string(),
                  static_cast<double>(bytes) / 1e9, static_cast<double>(space.available) / 1e9),
      "free some space or choose another output");
}

void write_file_atomically(const fs::path& path, std::string_view bytes) {
  const fs::path aside = parent_of(path) / fmt::format(".{}.partial-{}", path.filename().string(),
                                                       static_cast<long>(::getpid()));
  try {
    OutputFile file(aside);
    file.append(bytes);
    file.sync();
    if (::rename(aside.c_str(), path.c_str()) != 0) fail_system("cannot rename to", path);
  } catch (...) {
    ::unlink(aside.c_str());
    throw;
  }
  sync_directory(parent_of(path));
}

void check_output_directory(const fs::path& path, bool overwrite) {
  if (!fs::exists(fs::symlink_status(path))) return;
  if (!overwrite) {
    throw Error(fmt::format("{}: already exists", path.string()),
                "choose another output or add --overwrite");
  }
  if (!is_own_output(path)) {
    throw Error(
        fmt::format("{}: exists and is not an output of moebius; not replaced", path.string()),
        "remove it yourself or choose another output");
  }
}

StagedDirectory::StagedDirectory(fs::path final_path, bool overwrite)
    : final_(without_trailing_slash(std::move(final_path))), overwrite_(overwrite) {
  check_output_directory(final_, overwrite);
  std::error_code error;
  fs::create_directories(parent_of(final_), error);
  if (error) fail("{}: cannot create: {}", parent_of(final_).string(), error.message());
  remove_stale_stages(final_);
  staged_ = parent_of(final_) / fmt::format(".{}.partial-{}", final_.filename().string(),
                                            static_cast<long>(::getpid()));
  if (::mkdir(staged_.c_str(), 0755) != 0) fail_system("cannot create", staged_);
  lock_ = ::open(staged_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (lock_ < 0 || ::flock(lock_, LOCK_EX | LOCK_NB) != 0) fail_system("cannot lock", staged_);
}

StagedDirectory::~StagedDirectory() {
  std::error_code ignored;
  if (!committed_) fs::remove_all(staged_, ignored);
  if (lock_ >= 0) ::close(lock_);
}

void StagedDirectory::sync() const {
  for (const auto& entry : fs::recursive_directory_iterator(staged_)) {
    if (entry.is_directory()) {
      sync_directory(entry.path());
    } else {
      const Descriptor fd(::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC));
      if (fd.get() < 0 || ::fsync(fd.get()) != 0) fail_system("cannot sync", entry.path());
    }
  }
  sync_directory(staged_);
}

void StagedDirectory::commit() {
  sync();
  check_output_directory(final_, overwrite_);
  const auto rename_with = [&](unsigned flags) {
    return ::renameat2(AT_FDCWD, staged_.c_str(), AT_FDCWD, final_.c_str(), flags) == 0;
  };
  if (!rename_with(RENAME_NOREPLACE)) {
    if (errno != EEXIST || !overwrite_) fail_system("cannot rename to", final_);
    if (!rename_with(RENAME_EXCHANGE)) fail_system("cannot replace", final_);
    std::error_code ignored;
    fs::remove_all(staged_, ignored);  // holds what stood there before
  }
  committed_ = true;
  sync_directory(parent_of(final_));
}

}  // namespace moebius
