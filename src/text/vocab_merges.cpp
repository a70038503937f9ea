// GPT-2's two files, and what transformers makes of them: which class they are for says how words
// are cut and what stands around a text.
#include <map>

#include "base/error.h"
#include "text/added_tokens.h"
#include "text/bpe_model.h"
#include "text/decoder_stages.h"
#include "text/special_tokens.h"
#include "text/tokenizer_document.h"

namespace moebius {
namespace {

enum class Kind { gpt2, roberta, qwen2 };

/// By the class that tokenizer_config.json names, or else by the model's type in config.json.
Kind kind_of(const fs::path& directory) {
  const auto read = [&](const char* file, const char* key) {
    const fs::path path = directory / file;
    if (!fs::exists(path)) return std::string();
    const Json json(read_large_json(path));
    return JsonView(json, path.string()).string_or(key, "");
  };
  std::string name = read("tokenizer_config.json", "tokenizer_class");
  if (name.ends_with("Fast")) name.resize(name.size() - 4);
  static const std::map<std::string, Kind> classes = {{"GPT2Tokenizer", Kind::gpt2},
                                                      {"RobertaTokenizer", Kind::roberta},
                                                      {"Qwen2Tokenizer", Kind::qwen2}};
  if (const auto at = classes.find(name); at != classes.end()) return at->second;
  if (!name.empty()) {
    throw Error(fmt::format("{}: the tokenizer_class {} is not supported with vocab.json and "
                            "merges.txt",
                            (directory / "tokenizer_config.json").string(), name),
                "GPT2Tokenizer, RobertaTokenizer and Qwen2Tokenizer are; transformers' "
                "save_pretrained writes a tokenizer.json of others");
  }
  const std::string type = read("config.json", "model_type");
  if (type == "roberta" || type == "xlm-roberta") return Kind::roberta;
  return type.starts_with("qwen2") || type.starts_with("qwen3") ? Kind::qwen2 : Kind::gpt2;
}

std::map<std::string, std::string> default_tokens(Kind kind) {
  if (kind == Kind::roberta) {
    return {{"bos_token", "<s>"},    {"eos_token", "</s>"},  {"sep_token", "</s>"},
            {"cls_token", "<s>"},    {"unk_token", "<unk>"}, {"pad_token", "<pad>"},
            {"mask_token", "<mask>"}};
  }
  std::map<std::string, std::string> out{{"unk_token", "<|endoftext|>"},
                                         {"eos_token", "<|endoftext|>"}};
  out[kind == Kind::gpt2 ? "bos_token" : "pad_token"] = "<|endoftext|>";
  return out;
}

Json pre_tokenizer_of(Kind kind, bool add_prefix_space) {
  Json bytes{{"type", "ByteLevel"}, {"add_prefix_space", add_prefix_space}};
  if (kind != Kind::qwen2) return bytes;
  bytes["use_regex"] = false;
  const Json split{
      {"type", "Split"}, {"pattern", {{"Regex", qwen2_words}}}, {"behavior", "Isolated"}};
  return {{"type", "Sequence"}, {"pretokenizers", {split, bytes}}};
}

}  // namespace

nlohmann::json read_merges(const fs::path& file) {
  const std::string text = read_large_text(file);
  nlohmann::json out = nlohmann::json::array();
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    std::string line = text.substr(at, end - at);
    if (line.ends_with('\r')) line.pop_back();
    if (!line.empty()) out.push_back(std::move(line));
    at = end + 1;
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

Json post_processor_of(Kind kind, const SpecialTokens& special, bool add_prefix_space,
                       const AddedTokens& added) {
  const auto id_of = [&](const std::string& token) { return added.id_of(token).value_or(-1); };
  if (kind == Kind::roberta) {
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
  const Kind kind = kind_of(directory);
  const SpecialTokens special(directory, default_tokens(kind));
  const bool add_prefix_space = special.config().boolean_or("add_prefix_space", false);
  TokenizerDocument out;
  out.where = directory.string();
  const Json options = Json::object();
  out.model = std::make_unique<BpeModel>(JsonView(options, vocab.string()), read_large_json(vocab),
                                         read_merges(merges));
  out.added_tokens = special.added_tokens();
  const AddedTokens added(out.added_tokens, out.where, out.model->vocabulary());
  if (kind == Kind::qwen2) out.parts["normalizer"] = {{"type", "NFC"}};
  out.parts["pre_tokenizer"] = pre_tokenizer_of(kind, add_prefix_space);
  out.parts["post_processor"] = post_processor_of(kind, special, add_prefix_space, added);
  out.decoder = Decoder({make_byte_level_stage});
  return out;
}

}  // namespace moebius
