#include "base/files.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/error.h"
#include "base/mapping_guard.h"
#include "base/posix.h"

namespace moebius {
namespace {

/// Whether a write failed because its source is a mapped file that was cut short; it may go on
/// then, with zeros.
bool is_unreadable(const void* source) {
  return errno == EFAULT && give_up_mapping_from(source);
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

}  // namespace moebius
