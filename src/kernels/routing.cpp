#include "kernels/routing.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/router_weighting.h"

namespace moebius::kernels {
namespace {

constexpr float minus_infinity = -std::numeric_limits<float>::infinity();

float sigmoid(float x) {
  return 1 / (1 + std::exp(-x));
}

/// Calls take(place) for the `count` largest of values [n], the largest first, among equals the
/// first; `taken` [n] is scratch. NaN counts as less than anything.
template <class Fn>
void for_each_best(const float* values, std::int64_t n, std::int64_t count, float* taken, Fn take) {
  std::fill_n(taken, n, 0.0f);
  for (std::int64_t k = 0; k < count; ++k) {
    std::int64_t best = -1;
    for (std::int64_t i = 0; i < n; ++i) {
      if (taken[i] != 0) continue;
      const bool first_number = best >= 0 && std::isnan(values[best]) && !std::isnan(values[i]);
      if (best < 0 || values[i] > values[best] || first_number) best = i;
    }
    taken[best] = 1;
    take(best);
  }
}

/// Sets scores of groups that are not chosen from to -infinity.
void apply_limit(const RoutingRule& rule, float* scores, float* work) {
  const std::int64_t groups = rule.limit_groups, size = rule.experts / groups;
  float *quality = work, *taken = work + groups;
  for (std::int64_t g = 0; g < groups; ++g) {
    const float* members = scores + g * size;
    quality[g] = 0;
    for_each_best(members, size, rule.limit_best, taken,
                  [&](std::int64_t i) { quality[g] += members[i]; });
  }
  for_each_best(quality, groups, rule.limit_kept, taken, [](std::int64_t) {});
  for (std::int64_t g = 0; g < groups; ++g) {
    if (taken[g] == 0) std::fill_n(scores + g * size, size, minus_infinity);
  }
}

void choose(const RoutingRule& rule, float* scores, float* work, std::int32_t* ids) {
  if (rule.limit_kept < rule.limit_groups) apply_limit(rule, scores, work);
  const std::int64_t size = rule.group_size, groups = rule.experts / size;
  if (size > 1) {
    for (std::int64_t g = 0; g < groups; ++g) {
      float sum = 0;
      for (std::int64_t i = 0; i < size; ++i) sum += scores[g * size + i];
      scores[g] = sum;
    }
  }
  for_each_best(scores, groups, rule.top_k / size, work, [&](std::int64_t group) {
    for (std::int64_t i = 0; i < size; ++i) *ids++ = static_cast<std::int32_t>(group * size + i);
  });
}

/// What scores of a token are relative to: e^max, and their sum over the weighting's domain.
struct Normaliser {
  float max = 0, sum;

  Normaliser(const RoutingRule& rule, const RouterWeighting& w, const float* logits,
             const std::int32_t* ids)
      : sum(w.epsilon) {
    if (w.domain == RouterWeighting::Domain::none) return;
    const bool all = w.domain == RouterWeighting::Domain::all;
    const std::int64_t count = all ? rule.experts : rule.top_k;
    const auto at = [&](std::int64_t i) { return logits[all ? i : ids[i]]; };
    max = minus_infinity;
    for (std::int64_t i = 0; i < count; ++i) max = std::max(max, at(i));
    for (std::int64_t i = 0; i < count; ++i) sum += router_score(w, at(i), max);
  }
};

void weigh_token(const RoutingRule& rule, const float* logits, const float* scale,
                 const std::int32_t* ids, float* weights) {
  const RouterWeighting w = weighting_of(rule.kind);
  const Normaliser normaliser(rule, w, logits, ids);
  for (std::int64_t k = 0; k < rule.top_k; ++k) {
    const float score = router_score(w, logits[ids[k]], normaliser.max);
    const float share = router_share(w, score, normaliser.sum);
    weights[k] = router_weight(w, share, w.learned ? scale + ids[k] : nullptr) * rule.factor;
  }
}

/// `args` of one token.
void weigh_token_backward(const WeighBackward& args) {
  const RoutingRule& rule = args.rule;
  const RouterWeighting w = weighting_of(rule.kind);
  const Normaliser normaliser(rule, w, args.logits, args.ids);
  const auto score = [&](std::int64_t e) {
    return router_score(w, args.logits[e], normaliser.max);
  };
  const auto dshare = [&](std::int64_t k) {
    return args.dweights[k] * rule.factor * (w.learned ? args.scale[args.ids[k]] : 1);
  };
  const auto gradient = [&](std::int64_t e, float d, float mean) {
    args.dlogits[e] = router_logit_gradient(w, score(e), normaliser.sum, d, mean);
  };
  float mean = 0;
  for (std::int64_t k = 0; k < rule.top_k; ++k) {
    const float share = router_share(w, score(args.ids[k]), normaliser.sum);
    mean += dshare(k) * share;
    if (args.dscale != nullptr) args.dscale[args.ids[k]] += args.dweights[k] * rule.factor * share;
  }
  if (w.domain == RouterWeighting::Domain::all) {
    for (std::int64_t e = 0; e < rule.experts; ++e) gradient(e, 0, mean);
  }
  for (std::int64_t k = 0; k < rule.top_k; ++k) gradient(args.ids[k], dshare(k), mean);
}

}  // namespace

void route(const RoutingRule& rule, const float* logits, std::int64_t tokens,
           const float* correction, const float* scale, float* work, std::int32_t* ids,
           float* weights) {
  float *scores = work, *rest = work + rule.experts;
  for (std::int64_t t = 0; t < tokens; ++t) {
    for (std::int64_t e = 0; e < rule.experts; ++e) {
      scores[e] = correction == nullptr ? logits[e] : sigmoid(logits[e]) + correction[e];
    }
    choose(rule, scores, rest, ids);
    weigh_token(rule, logits, scale, ids, weights);
    logits += rule.experts;
    ids += rule.top_k;
    weights += rule.top_k;
  }
}

void weigh(const RoutingRule& rule, const float* logits, std::int64_t tokens, const float* scale,
           const std::int32_t* ids, float* weights) {
  for (std::int64_t t = 0; t < tokens; ++t) {
    weigh_token(rule, logits + t * rule.experts, scale, ids + t * rule.top_k,
                weights + t * rule.top_k);
  }
}

void weigh_backward(const WeighBackward& args) {
  WeighBackward token = args;
  for (std::int64_t t = 0; t < args.tokens; ++t) {
    weigh_token_backward(token);
    token.logits += args.rule.experts;
    token.dlogits += args.rule.experts;
    token.dweights += args.rule.top_k;
    token.ids += args.rule.top_k;
  }
}

void sort_by_expert(const RoutingRule& rule, const std::int32_t* ids, const float* weights,
                    std::int64_t tokens, std::int64_t* offsets, std::int32_t* rows,
                    float* row_weights, std::int64_t* places) {
  const std::int64_t all = tokens * rule.top_k;
  std::fill_n(offsets, rule.experts + 1, 0);
  // An offset first counts the expert before, then is the next free row of its own.
  for (std::int64_t i = 0; i < all; ++i) ++offsets[ids[i] + 1];
  for (std::int64_t e = 0; e < rule.experts; ++e) offsets[e + 1] += offsets[e];
  for (std::int64_t i = 0; i < all; ++i) {
    const std::int64_t row = offsets[ids[i]]++;
    rows[row] = static_cast<std::int32_t>(i / rule.top_k);
    row_weights[row] = weights[i];
    if (places != nullptr) places[i] = row;
  }
  std::copy_backward(offsets, offsets + rule.experts, offsets + rule.experts + 1);
  offsets[0] = 0;
}

}  // namespace moebius::kernels
