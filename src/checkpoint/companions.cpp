#include "checkpoint/companions.h"

#include <algorithm>
#include <array>
#include <vector>

#include "base/digest.h"

namespace moebius {
namespace {

constexpr std::array names{"tokenizer.json",    "tokenizer_config.json", "special_tokens_map.json",
                           "added_tokens.json", "tokenizer.model",       "vocab.json",
                           "merges.txt",        "chat_template.jinja",   "chat_template.json"};
const fs::path generation_config = "generation_config.json";

bool is_tokenizer_file(const fs::path& name) {
  if (name.parent_path() == chat_template_folder) return name.extension() == ".jinja";
  const std::string text = name.string();
  return text.starts_with("tokenizer.model.v") ||
         std::find(names.begin(), names.end(), text) != names.end();
}

/// Paths of the tokenizer's files from `folder` on.
std::vector<fs::path> tokenizer_files(const fs::path& folder) {
  std::vector<fs::path> names;
  for (const fs::path& part : {fs::path(), fs::path(chat_template_folder)}) {
    if (!fs::is_directory(folder / part)) continue;
    for (const auto& entry : fs::directory_iterator(folder / part)) {
      const fs::path name = part / entry.path().filename();
      if (entry.is_regular_file() && is_tokenizer_file(name)) names.push_back(name);
    }
  }
  return names;
}

void copy_file(const fs::path& name, const fs::path& from, const fs::path& to, Digests& digests) {
  const std::string content = read_file(from / name);
  digests[name.string()] = digest_of(content);
  fs::create_directories((to / name).parent_path());
  OutputFile file(to / name);
  file.append(content);
}

}  // namespace

bool is_companion(const fs::path& name) {
  return is_tokenizer_file(name) || name == generation_config;
}

Digests tokenizer_digests(const fs::path& folder) {
  Digests digests;
  for (const fs::path& name : tokenizer_files(folder)) {
    digests[name.string()] = digest_of(read_file(folder / name));
  }
  return digests;
}

Digests copy_tokenizer(const fs::path& from, const fs::path& to) {
  Digests digests;
  for (const fs::path& name : tokenizer_files(from)) copy_file(name, from, to, digests);
  return digests;
}

Digests copy_generation_config(const fs::path& from, const fs::path& to) {
  Digests digests;
  if (fs::exists(from / generation_config)) copy_file(generation_config, from, to, digests);
  return digests;
}

}  // namespace moebius
