#include "text/tokenizer_class.h"

#include <nlohmann/json.hpp>

#include "base/json.h"
#include "text/tokenizer_document.h"

namespace moebius {
namespace {

std::string string_in(const fs::path& file, const char* key) {
  if (!fs::exists(file)) return "";
  const Json json(read_large_json(file));
  return JsonView(json, file.string()).string_or(key, "");
}

TokenizerClass kind_of_name(const std::string& name) {
  static const std::map<std::string, TokenizerClass> kinds = {
      {"LlamaTokenizer", TokenizerClass::llama},
      {"GPT2Tokenizer", TokenizerClass::gpt2},
      {"RobertaTokenizer", TokenizerClass::roberta},
      {"Qwen2Tokenizer", TokenizerClass::qwen2}};
  const auto at = kinds.find(name);
  return at == kinds.end() ? TokenizerClass::other : at->second;
}

TokenizerClass kind_of_model(const std::string& type) {
  if (type == "roberta" || type == "xlm-roberta") return TokenizerClass::roberta;
  if (type.starts_with("qwen2") || type.starts_with("qwen3")) return TokenizerClass::qwen2;
  const bool gpt2 = type == "gpt2" || type == "opt" || type == "phi" || type == "starcoder2";
  return gpt2 ? TokenizerClass::gpt2 : TokenizerClass::other;
}

}  // namespace

NamedTokenizerClass find_tokenizer_class(const fs::path& directory) {
  NamedTokenizerClass out;
  out.name = string_in(directory / "tokenizer_config.json", "tokenizer_class");
  if (out.name.ends_with("Fast")) out.name.resize(out.name.size() - 4);
  out.kind = out.name.empty() ? kind_of_model(string_in(directory / "config.json", "model_type"))
                              : kind_of_name(out.name);
  return out;
}

std::map<std::string, std::string> default_tokens(TokenizerClass kind) {
  switch (kind) {
    case TokenizerClass::other:
      return {};
    case TokenizerClass::llama:
      return {{"bos_token", "<s>"}, {"eos_token", "</s>"}, {"unk_token", "<unk>"}};
    case TokenizerClass::gpt2:
      return {{"bos_token", "<|endoftext|>"},
              {"eos_token", "<|endoftext|>"},
              {"unk_token", "<|endoftext|>"}};
    case TokenizerClass::roberta:
      return {{"bos_token", "<s>"},    {"eos_token", "</s>"},  {"sep_token", "</s>"},
              {"cls_token", "<s>"},    {"unk_token", "<unk>"}, {"pad_token", "<pad>"},
              {"mask_token", "<mask>"}};
    case TokenizerClass::qwen2:
      break;
  }
  return {{"eos_token", "<|endoftext|>"},
          {"unk_token", "<|endoftext|>"},
          {"pad_token", "<|endoftext|>"}};
}

}  // namespace moebius
