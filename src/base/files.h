// Files: mapped for reading, written aside and renamed. Nothing half-written ever stands under
// its final name.
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

/// Writes beside `path`, syncs, renames over it.
void write_file_atomically(const fs::path& path, std::string_view bytes);

/// A directory that is built beside its final name and renamed there by `commit`. Destroyed
/// without commit it removes what it had begun. What a killed process left behind is removed by
/// the next one that stages the same name.
class StagedDirectory {
 public:
  /// Throws Error if `final_path` exists and `overwrite` is false, or if it exists and holds none
  /// of the files that moebius writes into an output (so that a slip never deletes a home folder).
  StagedDirectory(fs::path final_path, bool overwrite);
  ~StagedDirectory();
  StagedDirectory(const StagedDirectory&) = delete;
  StagedDirectory& operator=(const StagedDirectory&) = delete;

  /// Where to write until `commit`.
  const fs::path& path() const { return staged_; }
  const fs::path& final_path() const { return final_; }
  /// Syncs every file. `commit` does so too; called from another thread before, while the files
  /// are read, it leaves little to wait for.
  void sync() const;
  /// Syncs every file, renames, syncs the parent. Throws Error if the final name was taken since.
  void commit();

 private:
  fs::path final_, staged_;
  bool overwrite_;
  int lock_ = -1;
  bool committed_ = false;
};

/// Throws Error unless `path` is free, or `overwrite` is set and what stands there is an output of
/// moebius. The early form of the check that StagedDirectory makes.
void check_output_directory(const fs::path& path, bool overwrite);

}  // namespace moebius
