// Weights of a GGUF file as the tensors that a checkpoint of the same model holds.
#pragma once

#include "checkpoint/safetensors.h"

namespace moebius {

/// Under the names of the model's family, in the order of the data. f32, f16 and bf16 tensors are
/// views of the mapped file; so are experts, as parts of one tensor. Three kinds are copies that
/// own their memory: quantised types, dequantised to f32 on all processors; queries and keys of a
/// family that llama.cpp rotates in neighbouring pairs, whose rows are put into the checkpoint's
/// order; gate and up of granitemoe, which are one tensor there. Throws Error naming the file and
/// the key or tensor for anything malformed, missing, misshapen or foreign, and where there is less
/// memory than the dequantised tensors take.
std::vector<TensorEntry> read_gguf(const fs::path& path);
std::vector<TensorEntry> read_gguf(const std::shared_ptr<const MappedFile>& file);

}  // namespace moebius
