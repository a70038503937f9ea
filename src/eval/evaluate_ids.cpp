#include "eval/evaluate_ids.h"

#include <ATen/ATen.h>

#include <cmath>

#include "base/clock.h"
#include "base/progress.h"
#include "eval/divergence.h"
#include "model/decoder.h"

namespace moebius {
namespace {

/// Sums over the windows of one text.
struct Sums {
  double nll = 0, kl = 0;
  std::int64_t tokens = 0, agreements = 0;
  RoutingRecorder routing;
};

constexpr std::size_t tokens_per_pass = 256;  // bounds the logits in memory: 256 x V

/// Scores [N, V] after each of `ids`, which continue a window.
at::Tensor scores_of(InferenceModel& model, SequenceCache& cache, std::span<const std::int32_t> ids,
                     RoutingRecorder* recorder) {
  const SequencePart part{&cache, ids, Scores::all};
  const std::span<float> scores = model.run({&part, 1}, recorder);
  return at::from_blob(scores.data(), {std::ssize(ids), model.spec().vocab});
}

void add_window(InferenceModel& model, InferenceModel* reference,
                std::span<const std::int32_t> window, Sums& sums) {
  const auto cache = model.make_cache();
  const auto reference_cache = reference != nullptr ? reference->make_cache() : nullptr;
  const std::size_t last = window.size() - 1;  // token, which predicts none
  for (std::size_t begin = 0; begin < window.size(); begin += tokens_per_pass) {
    const auto ids = window.subspan(begin, std::min(tokens_per_pass, window.size() - begin));
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

}  // namespace

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
  result.nll = sums.nll / tokens;
  result.perplexity = std::exp(result.nll);
  if (reference != nullptr) {
    result.kl = sums.kl / tokens;
    result.top1_agreement = static_cast<double>(sums.agreements) / tokens;
  }
  result.routing = sums.routing.statistics();
  result.seconds = seconds_since(start);
  return result;
}

EvalResult merge_results(std::span<const EvalResult> results) {
  EvalResult total = results[0];
  total.name = "all";
  if (results.size() == 1) return total;
  double tokens = 0, nll = 0, kl = 0, agreement = 0;
  total.seconds = 0;
  total.routing = {};
  for (const EvalResult& each : results) {
    const auto weight = static_cast<double>(each.tokens);
    tokens += weight;
    nll += each.nll * weight;
    kl += each.kl.value_or(0) * weight;
    agreement += each.top1_agreement.value_or(0) * weight;
    total.seconds += each.seconds;
    total.routing.merge(each.routing);
  }
  total.tokens = static_cast<std::int64_t>(tokens);
  total.nll = nll / tokens;
  total.perplexity = std::exp(total.nll);
  if (total.kl) total.kl = kl / tokens;
  if (total.top1_agreement) total.top1_agreement = agreement / tokens;
  return total;
}

}  // namespace moebius
