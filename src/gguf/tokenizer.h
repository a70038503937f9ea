// Tokenizers as GGUF has them: a list of tokens with types, and either merges with the name of a
// way to cut words ("gpt2") or scores ("llama").
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

/// The tokenizer of a model's directory, chat templates included, filled up to the model's
/// vocabulary. Throws Error naming the part that llama.cpp has no word for.
GgufTokenizer tokenizer_to_gguf(const fs::path& model, const ModelSpec& spec);

/// The tokenizer.json that says the same, in which a list of tokens with scores becomes merges.
nlohmann::json tokenizer_of_gguf(const GgufHeader& header);
/// The tokenizer_config.json: special tokens by name, chat templates.
nlohmann::json tokenizer_config_of_gguf(const GgufHeader& header);

}  // namespace moebius
