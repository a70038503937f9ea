// Dequantises blocks for the tests in Python. Test-only.
// usage: ggml_probe TYPE <BLOCKS >VALUES    TYPE as a GGUF file numbers it; f32 comes out
#include <cstdlib>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include "checkpoint/gguf_type.h"

int main(int argc, char** argv) {
  using namespace moebius;
  if (argc != 2) return EXIT_FAILURE;
  const auto type = gguf_type_numbered(static_cast<std::uint32_t>(std::atoi(argv[1])));
  if (!type || !is_quantized(*type)) return EXIT_FAILURE;
  const std::string blocks(std::istreambuf_iterator<char>(std::cin), {});
  const std::size_t elements = gguf_block_elements(*type);
  const std::size_t bytes = gguf_row_bytes(*type, static_cast<std::int64_t>(elements));
  if (blocks.size() % bytes != 0) return EXIT_FAILURE;
  std::vector<float> values(blocks.size() / bytes * elements);
  dequantize(*type, std::as_bytes(std::span(blocks)).data(), values.size(), values.data());
  std::cout.write(reinterpret_cast<const char*>(values.data()),
                  static_cast<std::streamsize>(values.size() * sizeof(float)));
  return std::cout.flush() ? EXIT_SUCCESS : EXIT_FAILURE;
}
