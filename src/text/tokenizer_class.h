// Classes of transformers that a model's files name for their tokenizer. Some classes define
// special tokens or parts that no file spells out.
#pragma once

#include <map>
#include <string>

#include "base/files.h"

namespace moebius {

/// The classes that moebius knows; `other` is any class that adds nothing to the files.
enum class TokenizerClass { other, llama, gpt2, roberta, qwen2 };

struct NamedTokenizerClass {
  TokenizerClass kind = TokenizerClass::other;
  std::string name;  ///< in tokenizer_config.json, without "Fast"; empty if it names none
};

/// The class that tokenizer_config.json names, or else the one that transformers uses for the
/// model_type in config.json. Absent files name none.
NamedTokenizerClass find_tokenizer_class(const fs::path& directory);

/// Special tokens that the class defines where no file does, by names such as "bos_token".
std::map<std::string, std::string> default_tokens(TokenizerClass kind);

}  // namespace moebius
