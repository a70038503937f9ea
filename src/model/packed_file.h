// A model whose weights are packed, as files: `packed.json` says what they are, and
// `packed.safetensors` holds, under the names of slots, the bytes that are computed with. Every
// instruction set reads the same. Beside them lie config.json and the tokenizer.
#pragma once

#include "checkpoint/packed.h"
#include "model/cpu_model.h"

namespace moebius {

/// Writes weights as `pack_weights` left them into `directory`.
void save_packed(const Weights& weights, const fs::path& directory);

/// Weights that are packed already, and what they are packed as.
struct PackedModel {
  Model model;
  kernels::PackedType type = kernels::PackedType::f32;
};
/// Reads what `save_packed` wrote; with `verify` digests are compared. Throws Error naming file and
/// tensor for another version, what is missing or does not fit the configuration, a wrong digest.
PackedModel load_packed(const fs::path& directory, bool verify, Executor& executor);

std::string_view name_of(kernels::PackedType type);
/// Throws Error naming `where` on a name that is not known.
kernels::PackedType packed_type_from(std::string_view name, std::string_view where);

}  // namespace moebius
