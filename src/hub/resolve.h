// Resolution of MODEL arguments: a directory, a GGUF file, or the name of a model on a hub.
#pragma once

#include "base/context.h"
#include "base/files.h"

namespace moebius {

/// The files of a model that a command needs.
enum class ModelParts { all, tokenizer };

/// The directory of MODEL. A path that exists, or that cannot be a name, is returned unchanged. A
/// GGUF file is unpacked into a directory that exists as long as `ctx`; its weights are linked.
/// `org/name` and `org/name@revision` are looked up in the hub cache, and the needed files that it
/// lacks are downloaded into it. Throws Error if that is impossible or not allowed.
fs::path resolve_model(const fs::path& model, ModelParts parts, const Context& ctx);

}  // namespace moebius
