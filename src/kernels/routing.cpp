#include "kernels/routing.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace moebius::kernels {
namespace {

constexpr float nothing = -std::numeric_limits<float>::infinity();

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

/// Leaves nothing in groups that are not chosen from.
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
    if (taken[g] == 0) std::fill_n(scores + g * size, size, nothing);
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

/// softmax(s)_e is e^(s_e - max) over the sum.
struct Softmax {
  float max = nothing, sum = 0;

  template <class At>
  Softmax(std::int64_t count, At at) {
    for (std::int64_t i = 0; i < count; ++i) max = std::max(max, at(i));
    for (std::int64_t i = 0; i < count; ++i) sum += std::exp(at(i) - max);
  }
  float of(float s) const { return std::exp(s - max) / sum; }
};

void weigh(const RoutingRule& rule, const float* logits, const float* scale,
           const std::int32_t* ids, float* weights) {
  const auto chosen = [&](std::int64_t k) { return logits[ids[k]]; };
  const auto fill = [&](auto weight) {
    for (std::int64_t k = 0; k < rule.top_k; ++k) weights[k] = weight(k);
  };
  switch (rule.kind) {
    case RouterWeights::softmax_renorm: {
      const Softmax softmax(rule.top_k, chosen);
      fill([&](std::int64_t k) { return softmax.of(chosen(k)); });
      break;
    }
    case RouterWeights::softmax: {
      const Softmax softmax(rule.experts, [&](std::int64_t e) { return logits[e]; });
      fill([&](std::int64_t k) { return softmax.of(chosen(k)); });
      break;
    }
    case RouterWeights::sigmoid:
      fill([&](std::int64_t k) { return sigmoid(chosen(k)); });
      break;
    case RouterWeights::sigmoid_renorm: {
      float sum = 1e-20f;
      for (std::int64_t k = 0; k < rule.top_k; ++k) sum += sigmoid(chosen(k));
      fill([&](std::int64_t k) { return sigmoid(chosen(k)) / sum; });
      break;
    }
    case RouterWeights::one:
      fill([](std::int64_t) { return 1.0f; });
      break;
    case RouterWeights::one_plus: {
      const Softmax softmax(rule.experts, [&](std::int64_t e) { return logits[e]; });
      fill([&](std::int64_t k) { return 1 + softmax.of(chosen(k)) * scale[ids[k]]; });
      break;
    }
  }
  for (std::int64_t k = 0; k < rule.top_k; ++k) weights[k] *= rule.factor;
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
    weigh(rule, logits, scale, ids, weights);
    logits += rule.experts;
    ids += rule.top_k;
    weights += rule.top_k;
  }
}

void sort_by_expert(const RoutingRule& rule, const std::int32_t* ids, const float* weights,
                    std::int64_t tokens, std::int64_t* offsets, std::int32_t* rows,
                    float* row_weights, std::int64_t* places) {
  const std::int64_t all = tokens * rule.top_k;
  std::fill_n(offsets, rule.experts + 1, 0);
  // Each offset first counts the expert before, then walks over its rows.
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
