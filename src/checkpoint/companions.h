// The files of a model other than weights and configuration, which outputs get unchanged.
#pragma once

#include <map>
#include <string>

#include "base/files.h"

namespace moebius {

using Digests = std::map<std::string, std::string>;  ///< XXH3-128 by file name

/// The folder of further chat templates, *.jinja.
inline constexpr const char* chat_template_folder = "additional_chat_templates";

/// Whether a file belongs to a model beside weights and configuration; `name` is its path relative
/// to the model's folder.
bool is_companion(const fs::path& name);

/// Digests of the files of the tokenizer, chat template included, that are in `folder`.
Digests tokenizer_digests(const fs::path& folder);
/// Copies the tokenizer's files, chat templates included, from folder `from` into `to`.
Digests copy_tokenizer(const fs::path& from, const fs::path& to);
/// Copies generation_config.json if `from` has one.
Digests copy_generation_config(const fs::path& from, const fs::path& to);

}  // namespace moebius
