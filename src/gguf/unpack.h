// A GGUF file as the directory that everything else reads.
#pragma once

#include "base/context.h"
#include "base/files.h"

namespace moebius {

/// Whether `path` is a file that begins as GGUF files do, or is called like one.
bool is_gguf(const fs::path& path);

/// A folder, for as long as the context lives, with the config.json, tokenizer.json and
/// tokenizer_config.json that say the same as the file's metadata, and the file itself as
/// model.gguf. Throws Error naming the file and the key of what moebius does not know.
fs::path unpack_gguf(const fs::path& file, const Context& ctx);

}  // namespace moebius
