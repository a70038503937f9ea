#include "checkpoint/companions.h"

#include <array>
#include <span>

#include "base/digest.h"

namespace moebius {
namespace {

constexpr std::array companions{"tokenizer.json",
                                "tokenizer_config.json",
                                "special_tokens_map.json",
                                "added_tokens.json",
                                "tokenizer.model",
                                "tokenizer.model.v1",
                                "tokenizer.model.v2",
                                "tokenizer.model.v3",
                                "vocab.json",
                                "merges.txt",
                                "chat_template.jinja",
                                "chat_template.json",
                                "generation_config.json"};
constexpr std::span<const char* const> all_files(companions);
constexpr auto tokenizer_files = all_files.first(companions.size() - 1);
constexpr auto generation_files = all_files.last(1);

void copy_file(const std::string& name, const fs::path& from, const fs::path& to,
               Digests& digests) {
  const std::string content = read_file(from / name);
  digests[name] = digest_of(content);
  fs::create_directories((to / name).parent_path());
  OutputFile file(to / name);
  file.append(content);
}

Digests copy_present(std::span<const char* const> names, const fs::path& from, const fs::path& to) {
  Digests digests;
  for (const char* name : names) {
    if (fs::exists(from / name)) copy_file(name, from, to, digests);
  }
  return digests;
}

}  // namespace

std::span<const char* const> companion_files() {
  return all_files;
}

Digests copy_tokenizer(const fs::path& from, const fs::path& to) {
  Digests digests = copy_present(tokenizer_files, from, to);
  const fs::path templates = "additional_chat_templates";
  if (!fs::is_directory(from / templates)) return digests;
  for (const auto& entry : fs::directory_iterator(from / templates)) {
    const fs::path& file = entry.path();
    if (file.extension() == ".jinja") {
      copy_file((templates / file.filename()).string(), from, to, digests);
    }
  }
  return digests;
}

Digests copy_generation_config(const fs::path& from, const fs::path& to) {
  return copy_present(generation_files, from, to);
}

}  // namespace moebius
