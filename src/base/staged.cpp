#include "base/staged.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <cstdio>
#include <cstdlib>
#include <utility>

#include "base/posix.h"

namespace moebius {
namespace {

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

bool is_own_output(const fs::path& path) {
  if (!fs::is_directory(path)) return false;
  if (fs::is_empty(path)) return true;
  for (const char* name : {"config.json", "config.yaml", "tokenizer.json", "general.train.jsonl"}) {
    if (fs::exists(path / name)) return true;
  }
  return false;
}

/// Opens `path` and locks it; -1 if it can't be opened or another process holds it.
int open_locked(const fs::path& path) {
  Descriptor fd(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  return fd.get() >= 0 && ::flock(fd.get(), LOCK_EX | LOCK_NB) == 0 ? fd.release() : -1;
}

/// Removes the stages of killed processes, whose locks are free.
void remove_stale_stages(const fs::path& folder, const std::string& prefix) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    if (!entry.path().filename().string().starts_with(prefix)) continue;
    const Descriptor lock(open_locked(entry.path()));
    if (lock.get() >= 0) fs::remove_all(entry.path(), ignored);
  }
}

fs::path checked(fs::path path, void (*check)(const fs::path&, bool), bool overwrite) {
  check(path, overwrite);
  return path;
}

[[noreturn]] void fail_exists(const fs::path& path) {
  throw Error(fmt::format("{}: already exists", path.string()),
              "choose another output or add --overwrite");
}

}  // namespace

Stage::Stage(fs::path final_path) : final_(std::move(final_path)) {
  std::error_code error;
  fs::create_directories(folder(), error);
  if (error) fail("{}: cannot create: {}", folder().string(), error.message());
  const std::string prefix = fmt::format(".{}.partial-", final_.filename().string());
  remove_stale_stages(folder(), prefix);
  staged_ = folder() / fmt::format("{}{}", prefix, static_cast<long>(::getpid()));
}

Stage::~Stage() {
  std::error_code ignored;
  if (!kept_) fs::remove_all(staged_, ignored);
  if (lock_ >= 0) ::close(lock_);
}

fs::path Stage::folder() const {
  return parent_of(final_);
}

void Stage::lock() {
  lock_ = open_locked(staged_);
  if (lock_ < 0) fail_system("cannot lock", staged_);
}

void Stage::keep() {
  kept_ = true;
  sync_directory(folder());
}

void check_output_file(const fs::path& path, bool overwrite) {
  const fs::file_status status = fs::symlink_status(path);
  if (!path.has_filename() || fs::is_directory(path)) {
    throw Error(fmt::format("{}: is a directory", path.string()), "name a file");
  }
  if (!fs::exists(status)) return;
  if (!fs::is_regular_file(status)) fail("{}: exists and is no plain file", path.string());
  if (!overwrite) fail_exists(path);
}

StagedFile::StagedFile(const fs::path& final_path, bool overwrite)
    : stage_(checked(final_path, check_output_file, overwrite)),
      overwrite_(overwrite),
      file_(std::make_unique<OutputFile>(stage_.path())) {
  stage_.lock();
}

void StagedFile::commit() {
  file_->sync();
  check_output_file(stage_.final_path(), overwrite_);
  if (::rename(stage_.path().c_str(), stage_.final_path().c_str()) != 0) {
    fail_system("cannot rename to", stage_.final_path());
  }
  stage_.keep();
}

void write_file_atomically(const fs::path& path, std::string_view bytes) {
  StagedFile staged(path, /*overwrite=*/true);
  staged.file().append(bytes);
  staged.commit();
}

void check_output_directory(const fs::path& path, bool overwrite) {
  if (!fs::exists(fs::symlink_status(path))) return;
  if (!overwrite) fail_exists(path);
  if (!is_own_output(path)) {
    throw Error(
        fmt::format("{}: exists and is not an output of moebius; not replaced", path.string()),
        "remove it yourself or choose another output");
  }
}

StagedDirectory::StagedDirectory(fs::path final_path, bool overwrite)
    : stage_(checked(without_trailing_slash(std::move(final_path)), check_output_directory,
                     overwrite)),
      overwrite_(overwrite) {
  if (::mkdir(path().c_str(), 0755) != 0) fail_system("cannot create", path());
  stage_.lock();
}

void StagedDirectory::sync() const {
  for (const auto& entry : fs::recursive_directory_iterator(path())) {
    if (entry.is_directory()) {
      sync_directory(entry.path());
    } else {
      const Descriptor fd(::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC));
      if (fd.get() < 0 || ::fsync(fd.get()) != 0) fail_system("cannot sync", entry.path());
    }
  }
  sync_directory(path());
}

void StagedDirectory::commit() {
  sync();
  check_output_directory(final_path(), overwrite_);
  const auto rename_with = [&](unsigned flags) {
    return ::renameat2(AT_FDCWD, path().c_str(), AT_FDCWD, final_path().c_str(), flags) == 0;
  };
  if (!rename_with(RENAME_NOREPLACE)) {
    if (errno != EEXIST || !overwrite_) fail_system("cannot rename to", final_path());
    if (!rename_with(RENAME_EXCHANGE)) fail_system("cannot replace", final_path());
    std::error_code ignored;
    fs::remove_all(path(), ignored);  // holds what stood there before
  }
  stage_.keep();
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
