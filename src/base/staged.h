// Outputs: written beside their final name and renamed there. Nothing half-written ever stands
// under its final name, and a folder of files that no one keeps.
#pragma once

#include "base/files.h"

namespace moebius {

/// A name beside a final one, under which an output is built, and the lock that tells a living
/// stage from one that a killed process left behind. Those are removed when the same name is staged
/// again.
class Stage {
 public:
  /// Creates the folders above `final_path`, which need not exist. Nothing stands at `path` yet.
  explicit Stage(fs::path final_path);
  /// Removes what was begun unless `keep` was called.
  ~Stage();
  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;

  const fs::path& path() const { return staged_; }
  const fs::path& final_path() const { return final_; }
  fs::path folder() const;
  /// Locks what now stands at `path`.
  void lock();
  /// What stands under the final name is whole; syncs the folder.
  void keep();

 private:
  fs::path final_, staged_;
  int lock_ = -1;
  bool kept_ = false;
};

/// A file that comes into being piece by piece; destroyed without `commit`, it is removed.
class StagedFile {
 public:
  /// Throws Error if `final_path` exists and `overwrite` is false, or if it is no plain file.
  StagedFile(const fs::path& final_path, bool overwrite);

  OutputFile& file() { return *file_; }
  /// Where the file will lie.
  fs::path directory() const { return stage_.folder(); }
  /// Syncs the file, renames it, syncs its directory.
  void commit();

 private:
  Stage stage_;
  bool overwrite_;
  std::unique_ptr<OutputFile> file_;
};

/// Throws Error unless a file may be written to `path`. The early form of StagedFile's check.
void check_output_file(const fs::path& path, bool overwrite);

/// A whole file at once, over what stands there.
void write_file_atomically(const fs::path& path, std::string_view bytes);

/// A directory that comes into being file by file; destroyed without `commit`, it is removed.
class StagedDirectory {
 public:
  /// Throws Error if `final_path` exists and `overwrite` is false, or if it exists and holds none
  /// of the files that moebius writes into an output (so that a slip never deletes a home folder).
  StagedDirectory(fs::path final_path, bool overwrite);

  /// Where to write until `commit`.
  const fs::path& path() const { return stage_.path(); }
  const fs::path& final_path() const { return stage_.final_path(); }
  /// Syncs every file. `commit` does so too; called from another thread before, while the files
  /// are read, it leaves little to wait for.
  void sync() const;
  /// Syncs every file, renames, syncs the parent. Throws Error if the final name was taken since.
  void commit();

 private:
  Stage stage_;
  bool overwrite_;
};

/// Throws Error unless `path` is free, or `overwrite` is set and what stands there is an output of
/// moebius. The early form of the check that StagedDirectory makes.
void check_output_directory(const fs::path& path, bool overwrite);

/// A folder for what a job unpacks, made in the system's folder of temporary files when it is first
/// asked for and removed with this object.
class ScratchFolder {
 public:
  ScratchFolder() = default;
  ~ScratchFolder();
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;

  /// A new, empty folder inside it, called `name` or nearly so.
  fs::path make(const std::string& name);

 private:
  fs::path path_;
  int made_ = 0;
};

}  // namespace moebius
