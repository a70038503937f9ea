// Weights as torch.save writes them (pytorch_model.bin): a zip archive of a pickle, which says what
// the tensors are, and of the storages that they are views of.
#pragma once

#include "checkpoint/safetensors.h"

namespace moebius {

/// Reads a state dict, plain or under "state_dict" or "model". Nothing in the file is executed.
/// Contiguous tensors stay in the mapped file, also those that share a storage; others are copied
/// into the usual order. Values that are single numbers or text are passed over. In the order of
/// the data. Throws Error naming file and tensor for anything else, and for what does not fit.
std::vector<TensorEntry> read_torch_file(const fs::path& path);
std::vector<TensorEntry> read_torch_file(std::shared_ptr<const MappedFile> file);

}  // namespace moebius
