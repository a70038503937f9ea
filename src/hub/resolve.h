// What MODEL may be: a directory, a GGUF file, or the name of a model on a hub.
#pragma once

#include "base/context.h"
#include "base/files.h"

namespace moebius {

/// What a command needs of a model.
enum class ModelParts { all, tokenizer };

/// The directory that MODEL means. A path that exists stays as it is, and so does what cannot be a
/// name; a GGUF file is unpacked into one, its weights apart, that lives as long as `ctx`.
/// `org/name` and `org/name@revision` are looked up in the hub cache; what is not there is
/// downloaded into it, the needed files alone. Throws Error if that is impossible or not allowed.
fs::path resolve_model(const fs::path& model, ModelParts parts, const Context& ctx);

}  // namespace moebius
