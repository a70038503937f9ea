#include "eval/evaluate.h"

#include "data/corpus.h"
#include "data/model_vocabulary.h"
#include "eval/evaluate_ids.h"
#include "hub/resolve.h"
#include "model/runtime.h"

namespace moebius {

EvalReport evaluate(const EvalOptions& options, const Context& ctx) {
  const ComputeScope scope(ctx);
  const fs::path directory = resolve_model(options.model, ModelParts::all, ctx);
  const Tokenizer tokenizer = Tokenizer::load(directory);
  const auto model = open_for_inference(directory, options, ctx);
  const ModelSpec& spec = model->spec();
  check_vocabulary(spec, tokenizer, options.model);
  std::unique_ptr<InferenceModel> reference;
  if (!options.reference.empty()) {
    WeightOptions reference_options = options;
    if (options.quantised()) reference_options.weights = "";
    reference_options.kv_cache = "";
    reference = open_for_inference(resolve_model(options.reference, ModelParts::all, ctx),
                                   reference_options, ctx);
    if (reference->spec().vocab != spec.vocab) {
      fail("{}: the reference's vocabulary has {} ids, the model's {}", options.reference.string(),
           reference->spec().vocab, spec.vocab);
    }
  }
  const std::int64_t max_context =
      std::min(spec.context, reference ? reference->spec().context : spec.context);
  const std::int64_t context =
      options.context != 0 ? options.context : std::min<std::int64_t>(1024, max_context);
  if (context < 2 || context > max_context) {
    fail("--context {}: must be in [2, {}], the model's context", context, max_context);
  }
  std::optional<std::int64_t> eos;
  if (!spec.eos.empty()) eos = spec.eos[0];
  EvalReport report;
  for (const std::string& file : options.data) {
    const auto ids = tokenize_file(file, options.key, tokenizer, eos);
    check_ids(spec, ids);
    if (ids.size() < 2) fail("{}: {} tokens are too few to predict any", file, ids.size());
    report.domains.push_back(evaluate_ids(*model, ids, context, reference.get(), ctx));
    report.domains.back().name = fs::path(file).filename().string();
  }
  report.total = merge_results(report.domains);
  return report;
}

}  // namespace moebius
