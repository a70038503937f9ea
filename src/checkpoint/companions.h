// The files that go with a model's weights, carried over as they are.
#pragma once

#include <map>
#include <string>

#include "base/files.h"

namespace moebius {

using Digests = std::map<std::string, std::string>;  ///< XXH3-128 by file name

/// Copies the files of the tokenizer, chat template included, that lie in `from` into `to`.
Digests copy_tokenizer(const fs::path& from, const fs::path& to);
/// Copies generation_config.json if it lies in `from`.
Digests copy_generation_config(const fs::path& from, const fs::path& to);

}  // namespace moebius
