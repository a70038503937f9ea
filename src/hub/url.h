#pragma once

#include <string>
#include <string_view>

namespace moebius::hub {

/// Whom one talks to: scheme, host and port of an address.
struct Origin {
  std::string scheme, host, port;
  bool operator==(const Origin&) const = default;
};

/// Throws Error for what is no address of http or https.
Origin origin_of(const std::string& url);

/// Text as one component of an address.
std::string escape_component(std::string_view text);
/// The same of a path: its slashes stay.
std::string escape_path(std::string_view path);

}  // namespace moebius::hub
