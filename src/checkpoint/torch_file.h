// Weights written by torch.save (pytorch_model.bin): a zip archive of a pickle, which describes the
// tensors, and of their storages.
#pragma once

#include "checkpoint/safetensors.h"

namespace moebius {

/// Reads a state dict, plain or under "state_dict" or "model". Nothing in the file is executed.
/// Contiguous tensors are views of the mapped file, also those that share a storage; others are
/// copied into row-major order. Single numbers and text are ignored. In the order of the data.
/// Throws Error naming file and tensor for any other value, and for sizes that do not fit.
std::vector<TensorEntry> read_torch_file(const fs::path& path);
std::vector<TensorEntry> read_torch_file(std::shared_ptr<const MappedFile> file);

}  // namespace moebius
