// A safetensors file: its header, then the bytes of each tensor.
#include "checkpoint/safetensors.h"

#include "fuzz/fuzz.h"

namespace moebius::fuzz {

void try_input(std::span<const std::byte> input) {
  for (const TensorEntry& tensor : read_safetensors(MappedFile::of_memory("input", input))) {
    look_at({tensor.data, tensor.bytes});
    if (is_weight_dtype(tensor.dtype)) {
      find_non_finite(tensor.data, tensor.dtype, static_cast<std::size_t>(tensor.elements()));
    }
  }
}

}  // namespace moebius::fuzz
