#include "gguf/unpack.h"

#include <cstring>
#include <fstream>

#include "base/error.h"
#include "checkpoint/gguf_model.h"
#include "gguf/tokenizer.h"

namespace moebius {

bool is_gguf(const fs::path& path) {
  std::error_code unknown;
  if (!fs::is_regular_file(path, unknown)) return false;
  if (path.extension() == ".gguf") return true;
  char magic[4] = {};
  std::ifstream(path, std::ios::binary).read(magic, sizeof magic);
  return std::memcmp(magic, "GGUF", sizeof magic) == 0;
}

fs::path unpack_gguf(const fs::path& file, const Context& ctx) {
  const fs::path target = fs::canonical(file);
  const auto mapped = MappedFile::open(target);
  const GgufHeader header = parse_gguf(mapped->bytes(), file.string());
  if (header.integer_or("split.count", 1, 0, 1 << 16) > 1) {
    throw Error(fmt::format("{}: is one of several parts of a model", file.string()),
                "llama.cpp's llama-gguf-split --merge makes one file of them");
  }
  const Json config = config_of_gguf(header, mapped->bytes());
  parse_model_spec(config, header.where);  // so that errors name the GGUF file
  const fs::path folder = ctx.scratch->make(file.filename().string());
  const auto write = [&](const char* name, const std::string& text) {
    OutputFile(folder / name).append(text + "\n");
  };
  write("config.json", config.dump(2));
  if (header.has("tokenizer.ggml.tokens")) {
    write("tokenizer.json", tokenizer_of_gguf(header).dump());
    write("tokenizer_config.json", tokenizer_config_of_gguf(header).dump(2));
  }
  fs::create_symlink(target, folder / "model.gguf");
  return folder;
}

}  // namespace moebius
