// Conversion of tokenizers to and from GGUF, which stores a list of tokens with types, and either
// merges with the name of a pre-tokenizer ("gpt2") or scores ("llama").
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/files.h"
#include "checkpoint/gguf.h"
#include "config/model_spec.h"

namespace moebius {

struct GgufTokenizer {
  GgufMetadata metadata;              ///< tokenizer.*
  std::vector<std::string> warnings;  ///< texts for which llama.cpp gives other ids, and why
};

/// Converts the tokenizer and the chat templates of a model's directory; the list of tokens is
/// padded to the model's vocabulary. Throws Error naming a part that GGUF cannot express.
GgufTokenizer tokenizer_to_gguf(const fs::path& model, const ModelSpec& spec);

/// The equivalent tokenizer.json; scores of tokens are converted to merges.
nlohmann::json tokenizer_of_gguf(const GgufHeader& header);
/// The equivalent tokenizer_config.json: special tokens by name, chat templates.
nlohmann::json tokenizer_config_of_gguf(const GgufHeader& header);

}  // namespace moebius
