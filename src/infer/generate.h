// Generation with a model that is already open.
#pragma once

#include <span>

#include "infer/engine.h"
#include "text/tokenizer.h"

namespace moebius {

/// A model and its tokenizer, which fit each other.
struct OpenModel {
  fs::path directory;
  Engine engine;
  Tokenizer tokenizer;
  std::vector<std::int32_t> stop_ids;  ///< tokens that end a text

  const ModelSpec& spec() const { return engine.spec(); }
};
/// `tokenizer` as it fits `model`; its texts end at the EOS tokens of the spec.
OpenModel make_open_model(fs::path directory, std::unique_ptr<InferenceModel> model,
                          Tokenizer tokenizer);
OpenModel open_model(const GenerateOptions& options, const Context& ctx);

/// Continues prompts (ids, none of them empty) side by side, prompt p with random stream
/// `first_stream` + p. `on_text` sees them one after the other.
std::vector<Generation> continue_prompts(OpenModel& open,
                                         std::span<const std::vector<std::int32_t>> prompts,
                                         const GenerateOptions& options, const Context& ctx,
                                         std::uint64_t first_stream, const OnText& on_text);

/// Ids of a prompt as the tokenizer makes them; BOS alone for an empty one. Throws Error where an
/// empty prompt has no BOS to start from, or an id is outside the model's vocabulary.
std::vector<std::int32_t> prompt_ids(const ModelSpec& spec, const Tokenizer& tokenizer,
                                     std::string_view prompt);

/// Throws Error if an id is outside the model's vocabulary.
void check_ids(const ModelSpec& spec, std::span<const std::int32_t> ids);

/// Throws Error if the tokenizer has ids that the model's embedding lacks. Ids of added tokens may
/// lie beyond it; `check_ids` refuses a text that holds one.
void check_vocabulary(const ModelSpec& spec, const Tokenizer& tokenizer, const fs::path& model);

}  // namespace moebius
