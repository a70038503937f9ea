#pragma once

#include <string_view>

#include "base/context.h"
#include "base/files.h"

namespace moebius::hub {

/// Throws Error unless the file's content has the digest that its etag is: SHA-256 where that has
/// 64 hexadecimal digits, git's SHA-1 of a blob where it has 40. Other etags say nothing.
void check_digest(const fs::path& file, std::string_view etag, const Context& ctx);

}  // namespace moebius::hub
