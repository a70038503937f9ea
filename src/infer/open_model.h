// Opening a model for text generation: which one, and what it becomes.
#pragma once

#include "infer/engine/engine.h"
#include "infer/open_options.h"
#include "text/tokenizer.h"

namespace moebius {

/// A model that serves requests, and its tokenizer.
struct OpenModel {
  fs::path directory;
  Engine engine;
  Tokenizer tokenizer;
  std::vector<std::int32_t> stop_ids;  ///< tokens that end a text: EOS, and the end of a turn

  const ModelSpec& spec() const { return engine.spec(); }
};

/// Throws Error for a model or tokenizer that is malformed, or that do not fit each other.
OpenModel open_model(const OpenOptions& options, const Context& ctx,
                     const EngineOptions& engine = {});

/// The same of a model that is ready. Texts end at the EOS tokens of its spec.
OpenModel make_open_model(fs::path directory, std::unique_ptr<InferenceModel> model,
                          Tokenizer tokenizer, const EngineOptions& engine = {});

}  // namespace moebius
