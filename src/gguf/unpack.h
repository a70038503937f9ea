// Unpacking of a GGUF file into a directory in Hugging Face layout, which everything else reads.
#pragma once

#include "base/context.h"
#include "base/files.h"

namespace moebius {

/// Whether `path` is a file that starts with GGUF's magic number or has its extension.
bool is_gguf(const fs::path& path);

/// Creates a directory, which exists as long as the context, with the config.json, tokenizer.json
/// and tokenizer_config.json that correspond to the file's metadata, and a link to the file as
/// model.gguf. Throws Error naming the file and the key of what is not supported.
fs::path unpack_gguf(const fs::path& file, const Context& ctx);

}  // namespace moebius
