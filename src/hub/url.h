#pragma once

#include <string>
#include <string_view>

namespace moebius::hub {

/// Scheme, host and port of an address.
struct Origin {
  std::string scheme, host, port;
  bool operator==(const Origin&) const = default;
};

/// The origin of an address. Throws Error unless it is an http or https address.
Origin origin_of(const std::string& url);

/// `text` percent-encoded as one component of an address.
std::string escape_component(std::string_view text);
/// The same for a path, whose slashes are kept.
std::string escape_path(std::string_view path);

}  // namespace moebius::hub
