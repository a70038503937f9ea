#include "eval/evaluate.h"

#include <ATen/ATen.h>

#include <cmath>
#include <numeric>

#include "base/clock.h"
#include "base/progress.h"
#include "data/corpus.h"
#include "hub/resolve.h"
#include "infer/generate.h"
#include "model/decoder.h"
#include "model/runtime.h"

namespace moebius {
namespace {

/// Sums over the windows of one text.
struct Sums {
  double nll = 0, kl = 0;
  std::int64_t tokens = 0, agreements = 0;
  RoutingSums routing;
};

constexpr std::size_t tokens_at_once = 256;  // bounds the logits held at once: 256 x V

/// Scores [N, V] after each of `ids`, which go on with a window.
at::Tensor scores_of(InferenceModel& model, SequenceCache& cache, std::span<const std::int32_t> ids,
                     RoutingSums* sums) {
  const SequencePart part{&cache, ids, Scores::all};
  const std::span<float> scores = model.run({&part, 1}, sums);
  return at::from_blob(scores.data(), {std::ssize(ids), model.spec().vocab});
}

void add_window(InferenceModel& model, InferenceModel* reference,
                std::span<const std::int32_t> window, Sums& sums) {
  const auto cache = model.make_cache();
  const auto reference_cache = reference != nullptr ? reference->make_cache() : nullptr;
  const std::size_t last = window.size() - 1;  // predicts nothing
  for (std::size_t begin = 0; begin < window.size(); begin += tokens_at_once) {
    const auto ids = window.subspan(begin, std::min(tokens_at_once, window.size() - begin));
    const at::Tensor all = scores_of(model, *cache, ids, &sums.routing);
    const auto count = static_cast<std::int64_t>(std::min(begin + ids.size(), last) - begin);
    const at::Tensor scores = all.narrow(0, 0, count);
    if (!at::isfinite(scores).all().item<bool>()) model.fail_where_not_finite(window);
    const at::Tensor targets =
        ids_tensor(window.subspan(begin + 1, static_cast<std::size_t>(count)));
    sums.nll -= at::log_softmax(scores, -1).gather(1, targets.t()).sum(at::kDouble).item<double>();
    if (reference == nullptr) continue;
    const at::Tensor wanted = scores_of(*reference, *reference_cache, ids, nullptr);
    const Divergence d = divergence(wanted.narrow(0, 0, count), scores);
    sums.kl += d.kl_sum;
    sums.agreements += d.agreements;
  }
  sums.tokens += static_cast<std::int64_t>(last);
}

/// Entropy and dead experts from the shares.
void summarise(LayerRouting& row) {
  row.entropy = 0;
  row.dead.clear();
  for (std::size_t e = 0; e < row.share.size(); ++e) {
    if (row.share[e] == 0) {
      row.dead.push_back(static_cast<std::int64_t>(e));
    } else {
      row.entropy -= row.share[e] * std::log(row.share[e]);
    }
  }
}

std::vector<LayerRouting> routing_of(const RoutingSums& sums) {
  std::vector<LayerRouting> rows;
  for (std::size_t l = 0; l < sums.layers.size(); ++l) {
    const RoutingSums::Layer& layer = sums.layers[l];
    if (layer.tokens_E.empty()) continue;
    LayerRouting row;
    row.layer = static_cast<std::int64_t>(l);
    const double all = std::accumulate(layer.tokens_E.begin(), layer.tokens_E.end(), 0.0);
    for (const double tokens : layer.tokens_E) row.share.push_back(tokens / all);
    summarise(row);
    row.router_entropy = layer.entropy / static_cast<double>(sums.tokens);
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace

Divergence divergence(const at::Tensor& reference_NV, const at::Tensor& model_NV) {
  const at::Tensor log_p = at::log_softmax(reference_NV.to(at::kDouble), -1);
  const at::Tensor log_q = at::log_softmax(model_NV.to(at::kDouble), -1);
  Divergence d;
  d.kl_sum = (log_p.exp() * (log_p - log_q)).sum().item<double>();
  d.agreements = (reference_NV.argmax(-1) == model_NV.argmax(-1)).sum().item<std::int64_t>();
  return d;
}

EvalResult evaluate_ids(InferenceModel& model, std::span<const std::int32_t> ids,
                        std::int64_t context, InferenceModel* reference, const Context& ctx) {
  const at::InferenceMode inference;
  const auto start = Clock::now();
  Progress progress(ctx, "eval", static_cast<double>(ids.size()), "tokens");
  Sums sums;
  for (std::size_t at = 0; at + 1 < ids.size(); at += static_cast<std::size_t>(context)) {
    ctx.check_interrupt();
    add_window(model, reference,
               ids.subspan(at, std::min(static_cast<std::size_t>(context), ids.size() - at)), sums);
    progress.update(static_cast<double>(at));
  }
  if (sums.tokens == 0) fail("{} tokens are too few to predict any", ids.size());
  const auto tokens = static_cast<double>(sums.tokens);
  EvalResult result;
  result.tokens = sums.tokens;
  result.routed = sums.routing.tokens;
  result.nll = sums.nll / tokens;
  result.perplexity = std::exp(result.nll);
  if (reference != nullptr) {
    result.kl = sums.kl / tokens;
    result.top1_agreement = static_cast<double>(sums.agreements) / tokens;
  }
  result.layers = routing_of(sums.routing);
  result.seconds = seconds_since(start);
  return result;
}

EvalResult merge_results(std::span<const EvalResult> results) {
  EvalResult total = results[0];
  total.name = "all";
  if (results.size() == 1) return total;
  double tokens = 0, routed = 0, nll = 0, kl = 0, agreement = 0;
  total.seconds = 0;
  for (LayerRouting& row : total.layers) {
    std::fill(row.share.begin(), row.share.end(), 0.0);
    row.router_entropy = 0;
  }
  for (const EvalResult& each : results) {
    const auto weight = static_cast<double>(each.tokens);
    const auto passed = static_cast<double>(each.routed);
    tokens += weight;
    routed += passed;
    nll += each.nll * weight;
    kl += each.kl.value_or(0) * weight;
    agreement += each.top1_agreement.value_or(0) * weight;
    total.seconds += each.seconds;
    for (std::size_t l = 0; l < total.layers.size(); ++l) {
      total.layers[l].router_entropy += each.layers[l].router_entropy * passed;
      for (std::size_t e = 0; e < total.layers[l].share.size(); ++e) {
        total.layers[l].share[e] += each.layers[l].share[e] * passed;
      }
    }
  }
  total.tokens = static_cast<std::int64_t>(tokens);
  total.routed = static_cast<std::int64_t>(routed);
  total.nll = nll / tokens;
  total.perplexity = std::exp(total.nll);
  if (total.kl) total.kl = kl / tokens;
  if (total.top1_agreement) total.top1_agreement = agreement / tokens;
  for (LayerRouting& row : total.layers) {
    row.router_entropy /= routed;
    for (double& share : row.share) share /= routed;
    summarise(row);
  }
  return total;
}

EvalReport evaluate(const EvalOptions& options, const Context& ctx) {
  const ComputeScope scope(ctx);
  const fs::path directory = resolve_model(options.model, ModelParts::all, ctx);
  const Tokenizer tokenizer = Tokenizer::load(directory);
  const auto model = open_for_inference(directory, options, ctx);
  const ModelSpec& spec = model->spec();
  check_vocabulary(spec, tokenizer, options.model);
  std::unique_ptr<InferenceModel> reference;
  if (!options.reference.empty()) {
    WeightOptions of_reference = options;
    if (options.quantised()) of_reference.weights = "";
    of_reference.kv_cache = "";
    reference = open_for_inference(resolve_model(options.reference, ModelParts::all, ctx),
                                   of_reference, ctx);
    if (reference->spec().vocab != spec.vocab) {
      fail("{}: the reference's vocabulary has {} ids, the model's {}", options.reference.string(),
           reference->spec().vocab, spec.vocab);
    }
  }
  const std::int64_t longest =
      std::min(spec.context, reference ? reference->spec().context : spec.context);
  const std::int64_t context =
      options.context != 0 ? options.context : std::min<std::int64_t>(1024, longest);
  if (context < 2 || context > longest) {
    fail("--context {}: must be in [2, {}], the model's longest", context, longest);
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
