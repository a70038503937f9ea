// The pickle of a torch.save file whose archive is sound and holds three storages, which a mutated
// archive seldom is.
#include "checkpoint/raw_zip.h"
#include "checkpoint/torch_file.h"
#include "fuzz/fuzz.h"

namespace moebius::fuzz {

void try_input(std::span<const std::byte> input) {
  const std::string file = support::raw_zip({{"r/data.pkl", std::string(text_of(input))},
                                             {"r/data/0", std::string(64, '\1')},
                                             {"r/data/1", std::string(24, '\2')},
                                             {"r/data/2", ""}});
  const auto mapped = MappedFile::of_memory("input", std::as_bytes(std::span(file)));
  for (const TensorEntry& tensor : read_torch_file(mapped)) look_at({tensor.data, tensor.bytes});
}

}  // namespace moebius::fuzz
