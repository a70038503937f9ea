#include "checkpoint/companions.h"

#include <array>

#include "base/digest.h"

namespace moebius {
namespace {

constexpr std::array names{"generation_config.json", "tokenizer.json",
                           "tokenizer_config.json",  "special_tokens_map.json",
                           "added_tokens.json",      "tokenizer.model",
                           "tokenizer.model.v1",     "vocab.json",
                           "merges.txt",             "chat_template.jinja",
                           "chat_template.json",     "modeling_moebius.py"};

}  // namespace

std::map<std::string, std::string> copy_companions(const fs::path& from, const fs::path& to) {
  std::map<std::string, std::string> digests;
  for (const char* name : names) {
    if (!fs::exists(from / name)) continue;
    const std::string content = read_file(from / name);
    digests[name] = digest_of(content);
    OutputFile file(to / name);
    file.append(content);
  }
  return digests;
}

}  // namespace moebius
