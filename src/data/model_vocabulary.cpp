#include "data/model_vocabulary.h"

#include "base/error.h"

namespace moebius {

void check_vocabulary(const ModelSpec& spec, const Tokenizer& tokenizer, const fs::path& model) {
  if (tokenizer.base_vocab_size() > spec.vocab) {
    fail("{}: the tokenizer has {} ids, the model's vocabulary {}", model.string(),
         tokenizer.base_vocab_size(), spec.vocab);
  }
}

void check_ids(const ModelSpec& spec, std::span<const std::int32_t> ids) {
  for (const std::int32_t id : ids) {
    if (id >= spec.vocab) fail("token {} is outside the model's vocabulary of {}", id, spec.vocab);
  }
}

std::optional<Tokenizer> tokenizer_beside(const fs::path& directory, const ModelSpec& spec) {
  if (!Tokenizer::exists(directory)) return std::nullopt;
  Tokenizer tokenizer = Tokenizer::load(directory);
  check_vocabulary(spec, tokenizer, directory);
  return tokenizer;
}

std::vector<std::int32_t> prompt_ids(const ModelSpec& spec, const Tokenizer& tokenizer,
                                     std::string_view prompt) {
  std::vector<std::int32_t> ids = tokenizer.encode(prompt);
  if (ids.empty()) {
    if (!spec.bos) {
      throw Error("an empty prompt needs a BOS token, and this model has none", "give a --prompt");
    }
    ids.push_back(static_cast<std::int32_t>(*spec.bos));
  }
  check_ids(spec, ids);
  return ids;
}

}  // namespace moebius
