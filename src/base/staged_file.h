// A file that comes into being piece by piece, and a folder of files that no one keeps.
#pragma once

#include "base/files.h"

namespace moebius {

/// Written beside its final name and renamed there by `commit`; destroyed without it, what was
/// begun is removed. What a killed process left behind is removed by the next one that stages the
/// same name.
class StagedFile {
 public:
  /// Throws Error if `final_path` exists and `overwrite` is false, or if it is no plain file.
  StagedFile(fs::path final_path, bool overwrite);
  ~StagedFile();
  StagedFile(const StagedFile&) = delete;
  StagedFile& operator=(const StagedFile&) = delete;

  OutputFile& file() { return *file_; }
  /// Where the file will lie.
  fs::path directory() const;
  /// Syncs the file, renames it, syncs its directory.
  void commit();

 private:
  fs::path final_, staged_;
  bool overwrite_, committed_ = false;
  int lock_ = -1;
  std::unique_ptr<OutputFile> file_;
};

/// Throws Error unless a file may be written to `path`. The early form of StagedFile's check.
void check_output_file(const fs::path& path, bool overwrite);

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
