#include "checkpoint/companions.h"

#include <array>
#include <span>

#include "base/digest.h"

namespace moebius {
namespace {

constexpr std::array tokenizer_files{
    "tokenizer.json",     "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json",  "tokenizer.model",       "tokenizer.model.v1",
    "tokenizer.model.v2", "tokenizer.model.v3",    "vocab.json",
    "merges.txt",         "chat_template.jinja",   "chat_template.json"};
constexpr std::array generation_files{"generation_config.json"};

Digests copy_present(std::span<const char* const> names, const fs::path& from, const fs::path& to) {
  Digests digests;
  for (const char* name : names) {
    if (!fs::exists(from / name)) continue;
    const std::string content = read_file(from / name);
    digests[name] = digest_of(content);
    OutputFile file(to / name);
    file.append(content);
  }
  return digests;
}

}  // namespace

Digests copy_tokenizer(const fs::path& from, const fs::path& to) {
  return copy_present(tokenizer_files, from, to);
}

Digests copy_generation_config(const fs::path& from, const fs::path& to) {
  return copy_present(generation_files, from, to);
}

}  // namespace moebius
