// Generation with a model that is already open.
#pragma once

#include <span>

#include "infer/run.h"
#include "model/load.h"
#include "text/tokenizer.h"

namespace moebius {

/// Dtype that activations have: bf16 where the weights are bf16 tensors, else f32.
at::ScalarType compute_dtype(const Model& model);

/// A model and its tokenizer, which fit each other.
struct OpenModel {
  fs::path directory;
  Model model;
  Tokenizer tokenizer;
};
OpenModel open_model(const GenerateOptions& options, const Context& ctx);

/// Tokens whose keys and values are at hand, so that a prompt that begins with them costs only its
/// rest.
struct TokenCache {
  KvCache keys_values;
  std::vector<std::int32_t> ids;
};

/// Continues `prompt_ids` (not empty). `stream` numbers the random stream. A `cache` is used and
/// left with the tokens that were computed.
Generation generate_one(const Model& model, const Tokenizer& tokenizer,
                        std::span<const std::int32_t> prompt_ids, const GenerateOptions& options,
                        const Context& ctx, std::uint64_t stream,
                        const std::function<void(std::string_view)>& on_text,
                        TokenCache* cache = nullptr);

/// Ids of a prompt as the tokenizer makes them; BOS alone for an empty one. Throws Error where an
/// empty prompt has no BOS to start from, or an id is outside the model's vocabulary.
std::vector<std::int32_t> prompt_ids(const ModelSpec& spec, const Tokenizer& tokenizer,
                                     std::string_view prompt);

/// Throws Error if an id is outside the model's vocabulary.
void check_ids(const ModelSpec& spec, std::span<const std::int32_t> ids);

/// Throws Error if the tokenizer has ids that the model's embedding lacks.
void check_vocabulary(const ModelSpec& spec, const Tokenizer& tokenizer, const fs::path& model);

}  // namespace moebius
