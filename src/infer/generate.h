// Generation with a model that is already open.
#pragma once

#include <span>

#include "infer/run.h"
#include "model/load.h"
#include "text/tokenizer.h"

namespace moebius {

/// Dtype that activations have when weights are stored as `w`: bf16 stays, all else is f32.
at::ScalarType compute_dtype(const Model& model);

/// Continues `prompt_ids` (not empty). `stream` numbers the random stream.
Generation generate_one(const Model& model, const Tokenizer& tokenizer,
                        std::span<const std::int32_t> prompt_ids, const GenerateOptions& options,
                        const Context& ctx, std::uint64_t stream,
                        const std::function<void(std::string_view)>& on_text);

/// Ids of a prompt as the tokenizer makes them; BOS alone for an empty one. Throws Error where an
/// empty prompt has no BOS to start from, or an id is outside the model's vocabulary.
std::vector<std::int32_t> prompt_ids(const ModelSpec& spec, const Tokenizer& tokenizer,
                                     std::string_view prompt);

/// Throws Error if the tokenizer has ids that the model's embedding lacks.
void check_vocabulary(const ModelSpec& spec, const Tokenizer& tokenizer, const fs::path& model);

}  // namespace moebius
