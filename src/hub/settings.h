// Names of models on a hub, and the settings of the hub in the environment.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/files.h"

namespace moebius::hub {

/// `org/name` or `org/name@revision`.
struct Name {
  std::string org, name;
  std::string revision = "main";  ///< branch, tag or commit

  std::string id() const { return org + "/" + name; }
  std::string text() const { return revision == "main" ? id() : id() + "@" + revision; }
};

/// Nothing if `text` is not a valid name, such as a path.
std::optional<Name> parse_name(std::string_view text);

/// Whether `text` has only the characters 0-9 and a-f.
bool is_hex(std::string_view text);

/// Whether `text` is a commit: 40 hexadecimal digits.
bool is_commit(std::string_view text);

/// `text` without leading and trailing spaces, tabs and line ends.
std::string_view trimmed(std::string_view text);

/// HF_HUB_CACHE, HF_HOME, HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE and HF_HUB_DOWNLOAD_TIMEOUT, with
/// the defaults of huggingface_hub.
struct Settings {
  fs::path cache;
  std::string endpoint;
  std::string token;  ///< empty: none
  bool offline = false;
  long timeout = 10;  ///< seconds without an answer or a byte

  /// Throws Error for values that can't be used.
  static Settings from_environment();
};

}  // namespace moebius::hub
