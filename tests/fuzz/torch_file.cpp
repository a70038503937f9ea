// A file of torch.save: the zip archive, the pickle in it, then the bytes of each tensor.
#include "checkpoint/torch_file.h"

#include "fuzz/fuzz.h"

namespace moebius::fuzz {

void try_input(std::span<const std::byte> input) {
  for (const TensorEntry& tensor : read_torch_file(MappedFile::of_memory("input", input))) {
    look_at({tensor.data, tensor.bytes});
  }
}

}  // namespace moebius::fuzz
