// Files: mapped for reading, looked at, written. What an output is made of is staged:
// base/staged.h.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace moebius {

namespace fs = std::filesystem;

/// A read-only private mapping of a whole file. Shared by the tensors that lie in it.
class MappedFile {
 public:
  /// Throws Error naming the file if it can't be opened or mapped. An empty file maps to no bytes.
  static std::shared_ptr<const MappedFile> open(const fs::path& path);
  /// Bytes of the caller's, which outlive the result, as if they stood in a file of that name.
  static std::shared_ptr<const MappedFile> of_memory(fs::path name,
                                                     std::span<const std::byte> bytes);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const fs::path& path() const { return path_; }
  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  MappedFile(fs::path path, std::span<const std::byte> bytes, bool mapped);
  fs::path path_;
  std::span<const std::byte> bytes_;
  bool mapped_;
};

/// Whole content of a file; throws Error naming it. Larger than `limit` bytes is an error.
std::string read_file(const fs::path& path, std::size_t limit = std::size_t{1} << 31);

/// What the files that lie in a directory are like at one moment, to tell later whether somebody
/// changed them. New ones, hidden ones and those of subdirectories are not looked at.
class DirectoryState {
 public:
  explicit DirectoryState(const fs::path& directory);
  /// Throws Error naming a file that was written to, replaced or removed since.
  void check_unchanged() const;

 private:
  struct State {
    dev_t device;
    ino_t number;
    off_t size;
    std::int64_t seconds, nanoseconds;  // of the last change of its bytes
    bool operator==(const State&) const = default;
  };
  static std::optional<State> look_at(const fs::path& file);
  std::map<fs::path, State> files_;
};

/// Owns a file descriptor opened for writing; every failure names the file (a full disk too).
class OutputFile {
 public:
  enum class Mode { truncate, append };
  explicit OutputFile(fs::path path, Mode mode = Mode::truncate);
  ~OutputFile();
  OutputFile(OutputFile&& other) noexcept;
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;
  OutputFile& operator=(OutputFile&&) = delete;

  void append(std::string_view bytes);
  void write_at(std::size_t offset, std::span<const std::byte> bytes);
  void sync();
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
  int fd_;
};

/// Throws Error if the file system of `directory` has less than `bytes` free, so that a full disk
/// is found before the work is done.
void check_free_space(const fs::path& directory, std::size_t bytes);

}  // namespace moebius
