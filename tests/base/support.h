// What many tests need: a directory of their own, and errors as text.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/files.h"

namespace moebius::support {

/// A directory that is removed with this object.
class TempDir {
 public:
  TempDir() {
    std::string name = (fs::temp_directory_path() / "moebius-test-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) fail("{}: cannot create", name);
    path_ = name;
  }
  ~TempDir() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  const fs::path& path() const { return path_; }
  fs::path write(const std::string& name, std::string_view bytes) const {
    std::ofstream(path_ / name, std::ios::binary) << bytes;
    return path_ / name;
  }

 private:
  fs::path path_;
};

/// Names of what lies in a directory, sorted; hidden ones too.
inline std::vector<std::string> names_in(const fs::path& directory) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(directory)) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

/// Message and hint of the Error that `action` throws; "no error" if it throws none.
template <class Action>
std::string error_of(Action&& action) {
  try {
    action();
  } catch (const Error& error) {
    return std::string(error.what()) + (error.hint().empty() ? "" : " -> " + error.hint());
  }
  return "no error";
}

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

/// Whether `text` holds all of `parts`.
inline ::testing::AssertionResult mentions(const std::string& text,
                                           std::initializer_list<std::string_view> parts) {
  for (const std::string_view part : parts) {
    if (text.find(part) == std::string::npos) {
      return ::testing::AssertionFailure() << "\"" << text << "\" does not mention " << part;
    }
  }
  return ::testing::AssertionSuccess();
}

}  // namespace moebius::support
