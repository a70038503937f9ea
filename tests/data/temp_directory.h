// A directory of its own for a test, removed with it.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/files.h"

namespace moebius::test_data {

class TempDirectory {
 public:
  TempDirectory() {
    std::string name = (fs::temp_directory_path() / "moebius-data-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) fail("{}: cannot create", name);
    path_ = name;
  }
  ~TempDirectory() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  TempDirectory(const TempDirectory&) = delete;
  TempDirectory& operator=(const TempDirectory&) = delete;

  const fs::path& path() const { return path_; }
  fs::path write(const std::string& name, std::string_view bytes) const {
    write_file_atomically(path_ / name, bytes);
    return path_ / name;
  }

 private:
  fs::path path_;
};

/// The message of the Error that `action` throws, with `directory` cut out of it.
template <class Action>
std::string message_of(const fs::path& directory, Action&& action) {
  try {
    action();
  } catch (const Error& error) {
    std::string text = error.what();
    const std::string prefix = directory.string() + "/";
    for (std::size_t at; (at = text.find(prefix)) != std::string::npos;) {
      text.erase(at, prefix.size());
    }
    return text;
  }
  return "no error";
}

}  // namespace moebius::test_data
