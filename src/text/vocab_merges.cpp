// Tokenizers in GPT-2's layout, vocab.json with merges.txt. The class of transformers that they are
// for defines the pre-tokenizer and the post-processor.
#include "base/error.h"
#include "base/lines.h"
#include "text/added_tokens.h"
#include "text/bpe_model.h"
#include "text/companion_tokens.h"
#include "text/decoder_stages.h"
#include "text/tokenizer_document.h"

namespace moebius {
namespace {

/// The tokenizer's class; GPT2Tokenizer if no file names one. Throws Error for one that does not
/// use this layout.
TokenizerClass require_class(const fs::path& directory) {
  const NamedTokenizerClass found = find_tokenizer_class(directory);
  const bool known = found.kind != TokenizerClass::other && found.kind != TokenizerClass::llama;
  if (known) return found.kind;
  if (found.name.empty()) return TokenizerClass::gpt2;
  throw Error(
      fmt::format("{}: the tokenizer_class {} is not supported with vocab.json and merges.txt",
                  (directory / "tokenizer_config.json").string(), found.name),
      "GPT2Tokenizer, RobertaTokenizer and Qwen2Tokenizer are; transformers' save_pretrained "
      "writes a tokenizer.json of others");
}

Json pre_tokenizer_of(TokenizerClass kind, bool add_prefix_space) {
  Json bytes{{"type", "ByteLevel"}, {"add_prefix_space", add_prefix_space}};
  if (kind != TokenizerClass::qwen2) return bytes;
  bytes["use_regex"] = false;
  const Json split{
      {"type", "Split"}, {"pattern", {{"Regex", qwen2_words}}}, {"behavior", "Isolated"}};
  return {{"type", "Sequence"}, {"pretokenizers", {split, bytes}}};
}

}  // namespace

nlohmann::json read_merges(const fs::path& file) {
  const std::string text = read_large_text(file);
  nlohmann::json out = nlohmann::json::array();
  LineReader lines(text);
  while (const auto line = lines.next()) {
    if (!line->empty()) out.push_back(std::string(*line));
  }
  return out;
}

Json template_around(const std::string& front, std::int32_t front_id, const std::string& back,
                     std::int32_t back_id) {
  Json pieces = Json::array(), tokens = Json::object();
  const auto add = [&](const std::string& token, std::int32_t id) {
    if (token.empty()) return;
    pieces.push_back({{"SpecialToken", {{"id", token}}}});
    tokens[token] = {{"ids", {id}}};
  };
  add(front, front_id);
  pieces.push_back({{"Sequence", {{"id", "A"}}}});
  add(back, back_id);
  return {{"type", "TemplateProcessing"}, {"single", pieces}, {"special_tokens", tokens}};
}

namespace {

Json post_processor_of(TokenizerClass kind, const CompanionTokens& special, bool add_prefix_space,
                       const AddedTokens& added) {
  const auto id_of = [&](const std::string& token) { return added.id_of(token).value_or(-1); };
  if (kind == TokenizerClass::roberta) {
    const std::string cls = special.named("cls_token"), sep = special.named("sep_token");
    return {{"type", "RobertaProcessing"},
            {"cls", {cls, id_of(cls)}},
            {"sep", {sep, id_of(sep)}},
            {"trim_offsets", special.config().boolean_or("trim_offsets", true)},
            {"add_prefix_space", add_prefix_space}};
  }
  const auto token = [&](const char* flag, const char* name) {
    return special.config().boolean_or(flag, false) ? special.named(name) : std::string();
  };
  const std::string bos = token("add_bos_token", "bos_token");
  const std::string eos = token("add_eos_token", "eos_token");
  return template_around(bos, id_of(bos), eos, id_of(eos));
}

}  // namespace

TokenizerDocument read_vocab_and_merges(const fs::path& directory) {
  const fs::path vocab = directory / "vocab.json", merges = directory / "merges.txt";
  const TokenizerClass kind = require_class(directory);
  const CompanionTokens special(directory, kind);
  const bool add_prefix_space = special.config().boolean_or("add_prefix_space", false);
  TokenizerDocument out;
  out.where = directory.string();
  const Json options = Json::object();
  out.model = std::make_unique<BpeModel>(JsonView(options, vocab.string()), read_large_json(vocab),
                                         read_merges(merges));
  out.added_tokens = special.list();
  const AddedTokens added(out.added_tokens, out.where, out.model->vocabulary());
  if (kind == TokenizerClass::qwen2) out.parts["normalizer"] = {{"type", "NFC"}};
  out.parts["pre_tokenizer"] = pre_tokenizer_of(kind, add_prefix_space);
  out.parts["post_processor"] = post_processor_of(kind, special, add_prefix_space, added);
  out.decoder = Decoder({make_byte_level_stage});
  return out;
}

}  // namespace moebius
