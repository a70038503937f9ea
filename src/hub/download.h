// Downloads of a model's files from a hub into the cache.
#pragma once

#include <set>

#include "base/progress.h"
#include "hub/cache.h"
#include "hub/http.h"

namespace moebius::hub {

/// A revision as the hub describes it.
struct Revision {
  std::string commit;
  std::set<std::string> files;  ///< paths inside the repository
};

/// Requests about one model. All throw Error naming the model for what the hub refuses or lacks.
class Repository {
 public:
  Repository(const Settings& settings, const Name& name, const Context& ctx);

  Revision revision();
  /// Downloads one file of a commit into the cache, unless it is there. An interrupted transfer is
  /// resumed, also by a later process. Size and digest are verified before the file is renamed to
  /// its final name.
  void fetch(const std::string& commit, const std::string& file);

  const Cache& cache() const { return cache_; }

 private:
  /// Metadata of a file from a HEAD request.
  struct Description {
    std::string etag;
    std::uint64_t size = 0;
  };
  Description describe(const std::string& url, const std::string& file);
  void transfer(const std::string& url, const std::string& file, const Description& about);
  /// One attempt; throws Unreachable if it broke off.
  void attempt(const std::string& url, const fs::path& to, const Description& about,
               Progress& progress);
  [[noreturn]] void fail_status(const Response& response, const std::string& what) const;

  const Settings& settings_;
  const Name& name_;
  const Context& ctx_;
  Client client_;
  Cache cache_;
};

}  // namespace moebius::hub
