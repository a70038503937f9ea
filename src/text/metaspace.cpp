#include "text/metaspace.h"

#include "base/utf8.h"

namespace moebius {

Metaspace::Metaspace(const JsonView& part) : replacement(part.string("replacement")) {
  std::size_t at = 0;
  if (replacement.empty() || (next_code_point(replacement, at), at != replacement.size())) {
    part.fail_key("replacement", "is not a single character");
  }
  // Older files have the flag instead of the scheme.
  const bool prefix = part.boolean_or("add_prefix_space", true);
  const std::string name = part.string_or("prepend_scheme", prefix ? "always" : "never");
  if (name == "always") {
    scheme = Scheme::always;
  } else if (name == "first") {
    scheme = Scheme::first;
  } else if (name == "never") {
    scheme = Scheme::never;
  } else {
    part.fail_key("prepend_scheme", "is not known: " + name);
  }
}

}  // namespace moebius
