// Checks that a tokenizer and a model fit each other: every id has a row of the embedding.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/files.h"
#include "config/model_spec.h"
#include "text/tokenizer.h"

namespace moebius {

/// Throws Error if the tokenizer's own ids exceed the model's vocabulary. Ids of added tokens may
/// lie beyond it; `check_ids` refuses a text that holds one. `model` names the model in errors.
void check_vocabulary(const ModelSpec& spec, const Tokenizer& tokenizer, const fs::path& model);

/// Throws Error if an id is outside the model's vocabulary.
void check_ids(const ModelSpec& spec, std::span<const std::int32_t> ids);

/// The tokenizer of a model directory, if there is one. Throws Error as `check_vocabulary` does.
std::optional<Tokenizer> tokenizer_beside(const fs::path& directory, const ModelSpec& spec);

/// Ids of a prompt, special tokens of the tokenizer included; BOS alone for an empty one. Throws
/// Error for an empty prompt where the model has no BOS, and as `check_ids` does.
std::vector<std::int32_t> prompt_ids(const ModelSpec& spec, const Tokenizer& tokenizer,
                                     std::string_view prompt);

}  // namespace moebius
