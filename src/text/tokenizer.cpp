#include "text/tokenizer.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/utf8.h"
#include "text/tokenizer_impl.h"

namespace moebius {
namespace {

using Layout = TokenizerFiles::Layout;

/// Path of tokenizer.model, or of the highest tokenizer.model.vN; empty if there is none.
fs::path sentencepiece_file(const fs::path& directory) {
  std::vector<fs::path> found;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory, error)) {
    const std::string name = entry.path().filename().string();
    if (name == "tokenizer.model") return entry.path();
    if (name.starts_with("tokenizer.model.v")) found.push_back(entry.path());
  }
  return found.empty() ? fs::path() : *std::max_element(found.begin(), found.end());
}

TokenizerDocument read_document(const fs::path& directory) {
  const TokenizerFiles files = require_tokenizer(directory);
  switch (files.layout) {
    case Layout::tokenizer_json:
      return read_tokenizer_json(files.file);
    case Layout::sentencepiece:
      return read_sentencepiece(files.file);
    case Layout::vocab_and_merges:
      break;
  }
  return read_vocab_and_merges(directory);
}

}  // namespace

std::optional<TokenizerFiles> find_tokenizer(const fs::path& directory) {
  if (const fs::path file = directory / "tokenizer.json"; fs::exists(file)) {
    return TokenizerFiles{Layout::tokenizer_json, file};
  }
  if (const fs::path file = sentencepiece_file(directory); !file.empty()) {
    return TokenizerFiles{Layout::sentencepiece, file};
  }
  const fs::path vocab = directory / "vocab.json";
  if (!fs::exists(vocab) || !fs::exists(directory / "merges.txt")) return std::nullopt;
  return TokenizerFiles{Layout::vocab_and_merges, vocab};
}

TokenizerFiles require_tokenizer(const fs::path& directory) {
  if (auto found = find_tokenizer(directory)) return *found;
  throw Error(fmt::format("{}: not found, nor tokenizer.model, nor vocab.json with merges.txt: "
                          "the model has no tokenizer",
                          (directory / "tokenizer.json").string()),
              "transformers' save_pretrained writes tokenizer.json");
}

Tokenizer::Impl::Impl(TokenizerDocument document)
    : normalizer(Normalizer::load({document.parts, document.where}, "normalizer")),
      pre_tokenizer(PreTokenizer::load({document.parts, document.where}, "pre_tokenizer")),
      model(std::move(document.model)),
      added(document.added_tokens, document.where, model->vocabulary()),
      post_processor(PostProcessor::load({document.parts, document.where}, "post_processor")),
      decoder(std::move(document.decoder)) {
  if (document.finds_added_tokens) added.find_in_text(normalizer.get());
  for (const auto& [token, id] : model->vocabulary().ids()) {
    base_vocab_size = std::max(base_vocab_size, id + 1);
  }
  vocab_size = std::max(base_vocab_size, added.max_id() + 1);
  if (!post_processor) return;
  for (const std::int32_t id : post_processor->added_ids()) {
    if (find(id) == nullptr) {
      fail("{}: post_processor: adds the id {}, which is not in the vocabulary", document.where,
           id);
    }
  }
}

const std::string* Tokenizer::Impl::find(std::int32_t id) const {
  const std::string* token = added.token_of(id);
  return token != nullptr ? token : model->vocabulary().token_of(id);
}

const std::string& Tokenizer::Impl::token_of(std::int32_t id) const {
  const std::string* token = find(id);
  if (token == nullptr) {
    fail("the id {} is not in the tokenizer's vocabulary of {} ids", id, vocab_size);
  }
  return *token;
}

void Tokenizer::Impl::feed(DecoderRun& run, std::int32_t id, bool skip_special) const {
  const std::string& token = token_of(id);
  if (skip_special && added.is_special(token)) return;
  const std::string* text = added.text_of(id);
  run.push(text != nullptr ? *text : token);
}

Tokenizer Tokenizer::load(const fs::path& directory) {
  return Tokenizer(std::make_shared<const Impl>(read_document(directory)));
}

Tokenizer Tokenizer::parse(std::string_view json, const std::string& where) {
  return Tokenizer(std::make_shared<const Impl>(parse_tokenizer_json(json, where)));
}

bool Tokenizer::exists(const fs::path& directory) {
  return find_tokenizer(directory).has_value();
}

std::vector<std::int32_t> Tokenizer::encode(std::string_view utf8_text, bool add_special) const {
  return impl_->encode(utf8_text, add_special, /*with_offsets=*/false).ids;
}

Encoding Tokenizer::encode_with_offsets(std::string_view utf8_text, bool add_special) const {
  Tokens tokens = impl_->encode(utf8_text, add_special, /*with_offsets=*/true);
  return {std::move(tokens.ids), std::move(tokens.offsets)};
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids, bool skip_special) const {
  DecoderRun run = impl_->decoder.start();
  for (const std::int32_t id : ids) {
    impl_->feed(run, id, skip_special);
  }
  run.finish();
  return run.take();
}

std::int32_t Tokenizer::vocab_size() const {
  return impl_->vocab_size;
}

std::int32_t Tokenizer::base_vocab_size() const {
  return impl_->base_vocab_size;
}

bool Tokenizer::contains(std::int32_t id) const {
  return impl_->find(id) != nullptr;
}

std::optional<std::int32_t> Tokenizer::id_of(std::string_view token) const {
  const auto added = impl_->added.id_of(token);
  return added ? added : impl_->model->vocabulary().id_of(token);
}

const std::string& Tokenizer::token_of(std::int32_t id) const {
  return impl_->token_of(id);
}

bool Tokenizer::is_special(std::int32_t id) const {
  const std::string* token = impl_->find(id);
  return token != nullptr && impl_->added.is_special(*token);
}

}  // namespace moebius
