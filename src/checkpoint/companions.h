// The files that go with a model's weights, carried over as they are.
#pragma once

#include <map>
#include <span>
#include <string>

#include "base/files.h"

namespace moebius {

using Digests = std::map<std::string, std::string>;  ///< XXH3-128 by file name

/// Names of all that may go with a model's weights and configuration.
std::span<const char* const> companion_files();

/// Copies the files of the tokenizer, chat template included, that lie in `from` into `to`.
Digests copy_tokenizer(const fs::path& from, const fs::path& to);
/// Copies generation_config.json if it lies in `from`.
Digests copy_generation_config(const fs::path& from, const fs::path& to);

}  // namespace moebius
