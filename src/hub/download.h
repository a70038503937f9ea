// From a hub into the cache: what a revision holds, and one file after another.
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

/// Requests about one model. All throw Error that names it for what the hub refuses or lacks.
class Repository {
 public:
  Repository(const Settings& settings, const Name& name, const Context& ctx);

  Revision revision();
  /// Brings one file of a commit into the cache, unless it is there. A transfer that broke off is
  /// taken up where it ended, by the next process too. Size and digest are checked before the
  /// file gets its name.
  void fetch(const std::string& commit, const std::string& file);

  const Cache& cache() const { return cache_; }

 private:
  /// What the hub says of a file before it is sent.
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
