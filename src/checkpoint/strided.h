// Conversion of tensors with strides, as PyTorch stores them, to the contiguous entries of an
// index.
#pragma once

#include "checkpoint/safetensors.h"

namespace moebius {

/// Offset and strides count elements of `storage`.
struct StridedTensor {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;
  std::vector<std::int64_t> strides;
  std::int64_t offset = 0;
  std::span<const std::byte> storage;
};

/// Throws Error, naming `where`, unless every element is inside the storage, which has at least as
/// many.
void check_strided(const StridedTensor& tensor, const std::string& where);

/// Entries in the order of the data: views of `file` where the tensor's elements are in row-major
/// order, else copies that own their bytes. Throws Error if the copies would be larger than the
/// file: a small file must not fill the memory.
std::vector<TensorEntry> to_entries(std::vector<StridedTensor> tensors,
                                    const std::shared_ptr<const MappedFile>& file);

}  // namespace moebius
