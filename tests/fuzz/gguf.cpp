// A GGUF file: the tokenizer that its header describes, then the tensors of its model.
#include <nlohmann/json.hpp>

#include "checkpoint/gguf_file.h"
#include "fuzz/fuzz.h"
#include "gguf/tokenizer.h"

namespace moebius::fuzz {

void try_input(std::span<const std::byte> input) {
  const GgufHeader header = parse_gguf(input, "input");
  if (header.has("tokenizer.ggml.tokens")) {
    tokenizer_of_gguf(header);
    tokenizer_config_of_gguf(header);
  }
  for (const TensorEntry& tensor : read_gguf(MappedFile::of_memory("input", input))) {
    look_at({tensor.data, tensor.bytes});
  }
}

}  // namespace moebius::fuzz
