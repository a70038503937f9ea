#include "infer/open_model.h"

#include "data/model_vocabulary.h"
#include "hub/resolve.h"

namespace moebius {

OpenModel make_open_model(fs::path directory, std::unique_ptr<InferenceModel> model,
                          Tokenizer tokenizer, const EngineOptions& engine) {
  check_vocabulary(model->spec(), tokenizer, directory);
  std::vector<std::int32_t> stop_ids;
  if (model->spec().stops_at_eos) {
    for (const std::int64_t id : model->spec().eos) {
      stop_ids.push_back(static_cast<std::int32_t>(id));
    }
  }
  return {std::move(directory), Engine(std::move(model), engine), std::move(tokenizer),
          std::move(stop_ids)};
}

OpenModel open_model(const OpenOptions& options, const Context& ctx, const EngineOptions& engine) {
  fs::path directory = resolve_model(options.model, ModelParts::all, ctx);
  Tokenizer tokenizer = Tokenizer::load(directory);
  auto model = open_for_inference(directory, options, ctx);
  return make_open_model(std::move(directory), std::move(model), std::move(tokenizer), engine);
}

}  // namespace moebius
