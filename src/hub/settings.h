// Names of models on a hub, and what the environment says about reaching one.
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

/// Nothing for what a hub would not take as a name, such as a path.
std::optional<Name> parse_name(std::string_view text);

/// Only digits and a to f.
bool is_hex(std::string_view text);

/// 40 hexadecimal digits: what a revision becomes once it is looked up.
bool is_commit(std::string_view text);

/// Without the blanks and line ends around it.
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
