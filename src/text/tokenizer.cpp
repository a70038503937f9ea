#include "text/tokenizer.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/error.h"
#include "base/json.h"
#include "base/utf8.h"
#include "text/bpe_encoder.h"
#include "text/tokenizer_impl.h"

namespace moebius {
namespace {

constexpr std::size_t kFileLimit = std::size_t{64} << 20;

/// Files from before the key existed have no type but the two members.
JsonView checked_model(const JsonView& file) {
  const JsonView model = file.object("model");
  const std::string type = model.string_or("type", "BPE");
  if (type != "BPE") fail("{}: a model of type \"{}\" is not supported", model.where(), type);
  return model;
}

/// Takes `key` out of the document's model; null if it isn't there.
nlohmann::json take(nlohmann::json& document, const char* key) {
  if (!document.is_object()) return nullptr;
  const auto model = document.find("model");
  if (model == document.end() || !model->is_object() || !model->contains(key)) return nullptr;
  nlohmann::json out = std::move((*model)[key]);
  model->erase(key);
  return out;
}

}  // namespace

Tokenizer::Impl::Impl(const JsonView& file, const nlohmann::json& vocab,
                      const nlohmann::json& merges)
    : normalizer(Normalizer::load(file, "normalizer")),
      pre_tokenizer(PreTokenizer::load(file, "pre_tokenizer")),
      model(checked_model(file), vocab, merges),
      added(file, model.vocabulary(), normalizer.get()),
      post_processor(PostProcessor::load(file, "post_processor")),
      decoder(file, "decoder") {
  vocab_size = added.max_id() + 1;
  for (const auto& [token, id] : model.vocabulary().ids())
    vocab_size = std::max(vocab_size, id + 1);
  if (!post_processor) return;
  for (const std::int32_t id : post_processor->added_ids()) {
    if (find(id) == nullptr) {
      fail("{}: post_processor: adds the id {}, which is not in the vocabulary", file.where(), id);
    }
  }
}

const std::string* Tokenizer::Impl::find(std::int32_t id) const {
  const std::string* token = added.token_of(id);
  return token != nullptr ? token : model.vocabulary().token_of(id);
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
  const fs::path path = directory / "tokenizer.json";
  if (!fs::exists(path)) {
    throw Error(fmt::format("{}: no such file", path.string()),
                "moebius reads the tokenizer.json that Hugging Face's tokenizers writes; "
                "transformers' save_pretrained makes one of other formats");
  }
  const std::string text = read_file(path, kFileLimit);
  check_utf8(text, path.string());
  // Not parse_json: its objects keep their order, and each new key costs a walk through all
  // others, which a vocabulary of 150,000 tokens can't afford.
  nlohmann::json document;
  try {
    document = nlohmann::json::parse(text);
  } catch (const nlohmann::json::parse_error& error) {
    std::string what = error.what();  // the position stands behind the library's own id
    if (const auto at = what.find("parse error"); at != std::string::npos) what.erase(0, at);
    fail("{}: malformed JSON: {}", path.string(), what);
  }
  const nlohmann::json vocab = take(document, "vocab"), merges = take(document, "merges");
  const Json rest(document);
  return Tokenizer(std::make_shared<const Impl>(JsonView(rest, path.string()), vocab, merges));
}

std::vector<std::int32_t> Tokenizer::encode(std::string_view utf8_text, bool add_special) const {
  check_utf8(utf8_text, "the text to tokenize");
  const Impl& impl = *impl_;
  std::vector<std::int32_t> ids;
  BpeEncoder encoder(impl.model);
  Words words;
  const auto encode_words = [&](std::int32_t id, std::string_view part) {
    if (id >= 0) return ids.push_back(id);
    if (!impl.pre_tokenizer) return encoder.encode(part, ids);
    words.clear();
    impl.pre_tokenizer->split(part, words);
    for (std::size_t i = 0; i < words.size(); ++i) encoder.encode(words[i], ids);
  };
  impl.added.split_raw(utf8_text, [&](std::int32_t id, std::string_view part) {
    if (id >= 0) return ids.push_back(id);
    if (!impl.normalizer) return impl.added.split_normalized(part, encode_words);
    std::string normalized(part);
    impl.normalizer->apply(normalized);
    impl.added.split_normalized(normalized, encode_words);
  });
  if (impl.post_processor) impl.post_processor->apply(ids, add_special);
  return ids;
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

std::optional<std::int32_t> Tokenizer::id_of(std::string_view token) const {
  const auto added = impl_->added.id_of(token);
  return added ? added : impl_->model.vocabulary().id_of(token);
}

const std::string& Tokenizer::token_of(std::int32_t id) const {
  return impl_->token_of(id);
}

bool Tokenizer::is_special(std::int32_t id) const {
  const std::string* token = impl_->find(id);
  return token != nullptr && impl_->added.is_special(*token);
}

}  // namespace moebius
