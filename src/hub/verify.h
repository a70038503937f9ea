#pragma once

#include <string_view>

#include "base/context.h"
#include "base/files.h"

namespace moebius::hub {

/// Throws Error unless the file's content has the digest that its etag gives: SHA-256 if that has
/// 64 hexadecimal digits, git's SHA-1 of a blob if it has 40. Other etags are not checked.
void check_digest(const fs::path& file, std::string_view etag, const Context& ctx);

}  // namespace moebius::hub
