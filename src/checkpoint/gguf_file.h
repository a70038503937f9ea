// Weights of a GGUF file as the tensors that a checkpoint of the same model holds.
#pragma once

#include "checkpoint/safetensors.h"

namespace moebius {

/// Under the names of the model's family, in the order of the data. f32, f16 and bf16 stay in the
/// mapped file, experts as parts of one tensor. Memory of their own have: q8_0, widened to f32,
/// which holds its values exactly; queries and keys of a family that llama.cpp rotates in
/// neighbouring pairs; gate and up of granitemoe, which lie in one tensor there. Throws Error
/// naming the file and the key or tensor for anything malformed, missing, misshapen or foreign.
std::vector<TensorEntry> read_gguf(const fs::path& path);
std::vector<TensorEntry> read_gguf(const std::shared_ptr<const MappedFile>& file);

}  // namespace moebius
