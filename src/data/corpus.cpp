#include "data/corpus.h"

#include "data/documents.h"

namespace moebius {

std::vector<std::int32_t> tokenize_file(const fs::path& file, const std::string& key,
                                        const Tokenizer& tokenizer,
                                        std::optional<std::int64_t> eos) {
  const bool rows = file.extension() == ".jsonl" || file.extension() == ".json";
  std::vector<std::int32_t> ids;
  for (const std::string& document : read_documents(file, key)) {
    const auto more = tokenizer.encode(document);
    ids.insert(ids.end(), more.begin(), more.end());
    if (rows && eos) ids.push_back(static_cast<std::int32_t>(*eos));
  }
  return ids;
}

}  // namespace moebius
