// The folder of one model in the hub cache, in the layout of huggingface_hub, so that both can use
// it:
//   models--org--name/blobs/ETAG                 contents of files
//                     snapshots/COMMIT/FILE      links to blobs
//                     refs/REVISION              the commit of a branch or tag
//   .locks/models--org--name/ETAG.lock           held while a blob is written
#pragma once

#include <optional>

#include "base/context.h"
#include "hub/settings.h"

namespace moebius::hub {

/// An exclusive lock on a file, released with this object or with the process.
class FileLock {
 public:
  /// Waits for the lock; throws Interrupted on a stop signal.
  FileLock(const fs::path& file, const Context& ctx);
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  int fd_;
};

class Cache {
 public:
  Cache(const fs::path& root, const Name& name);

  /// Directory of the files of a commit.
  fs::path snapshot(std::string_view commit) const { return folder_ / "snapshots" / commit; }
  /// The snapshot of the commit that a revision had at its last look-up, if it is in the cache.
  std::optional<fs::path> find(const std::string& revision) const;

  fs::path blob(std::string_view etag) const { return folder_ / "blobs" / etag; }
  fs::path lock_file(std::string_view etag) const;
  /// Creates FILE of the commit's snapshot as a link to the blob; replaces what is there.
  void link(std::string_view commit, std::string_view file, std::string_view etag) const;
  void write_ref(const std::string& revision, std::string_view commit) const;
  const fs::path& folder() const { return folder_; }

 private:
  fs::path folder_, locks_;
};

}  // namespace moebius::hub
