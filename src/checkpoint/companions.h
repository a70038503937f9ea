// The files that go with a model's weights, carried over as they are.
#pragma once

#include <map>
#include <string>

#include "base/files.h"

namespace moebius {

using Digests = std::map<std::string, std::string>;  ///< XXH3-128 by file name

/// Holds chat templates beside the default one, as *.jinja.
inline constexpr const char* chat_template_folder = "additional_chat_templates";

/// Whether a file goes with a model's weights and configuration; `name` is its path from the
/// model's folder on.
bool is_companion(const fs::path& name);

/// Digests of the files of the tokenizer, chat template included, that are in `folder`.
Digests tokenizer_digests(const fs::path& folder);
/// Copies the files of the tokenizer, chat template included, that lie in `from` into `to`.
Digests copy_tokenizer(const fs::path& from, const fs::path& to);
/// Copies generation_config.json if it lies in `from`.
Digests copy_generation_config(const fs::path& from, const fs::path& to);

}  // namespace moebius
