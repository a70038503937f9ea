#include "infer/engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "base/error.h"

namespace moebius {

std::int32_t most_probable(std::span<const float> logits_V) {
  constexpr std::size_t lanes = 32;  // independent maxima, for instruction-level parallelism
  constexpr std::size_t block = 32 * lanes;
  std::size_t best_block = 0;
  float best = -std::numeric_limits<float>::infinity();
  for (std::size_t begin = 0; begin < logits_V.size(); begin += block) {
    const std::span<const float> x =
        logits_V.subspan(begin).first(std::min(block, logits_V.size() - begin));
    const std::size_t whole = x.size() / lanes * lanes;
    float max[lanes];
    std::fill_n(max, lanes, best);
    for (std::size_t i = 0; i < whole; i += lanes) {
      for (std::size_t lane = 0; lane < lanes; ++lane) {
        max[lane] = x[i + lane] > max[lane] ? x[i + lane] : max[lane];
      }
    }
    float here = *std::max_element(max, max + lanes);
    for (const float logit : x.subspan(whole)) here = logit > here ? logit : here;
    if (here > best) {
      best = here;
      best_block = begin;
    }
  }
  const auto from = logits_V.begin() + static_cast<std::ptrdiff_t>(best_block);
  const auto found = std::find(from, logits_V.end(), best);
  return found == logits_V.end() ? 0 : static_cast<std::int32_t>(found - logits_V.begin());
}

Sampler::Sampler(const SamplingOptions& options, std::uint64_t seed, std::uint64_t stream)
    : options_(options), random_(seed, stream) {
  const auto check = [](bool good, std::string_view name, double value, std::string_view need) {
    if (!good) throw UsageError(fmt::format("--{} {}: {}", name, value, need));
  };
  check(options.temperature >= 0, "temperature", options.temperature, "must not be negative");
  check(options.top_k >= 0, "top-k", static_cast<double>(options.top_k), "must not be negative");
  check(options.top_p > 0 && options.top_p <= 1, "top-p", options.top_p, "must be in (0, 1]");
  check(options.repetition_penalty > 0, "repetition-penalty", options.repetition_penalty,
        "must be positive");
}

std::int32_t Sampler::next(std::span<float> logits_V) {
  if (options_.repetition_penalty != 1.0) {
    const auto penalty = static_cast<float>(options_.repetition_penalty);
    for (const std::int32_t id : seen_) {
      float& logit = logits_V[static_cast<std::size_t>(id)];
      logit = logit > 0 ? logit / penalty : logit * penalty;
    }
  }
  if (options_.temperature == 0) return most_probable(logits_V);
  return draw(logits_V);
}

std::int32_t Sampler::draw(std::span<const float> logits_V) {
  std::vector<std::int32_t> order(logits_V.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<std::int32_t>(i);
  const auto better = [&](std::int32_t a, std::int32_t b) {
    const float x = logits_V[static_cast<std::size_t>(a)],
                y = logits_V[static_cast<std::size_t>(b)];
    return x != y ? x > y : a < b;
  };
  const std::size_t keep = options_.top_k > 0
                               ? std::min(order.size(), static_cast<std::size_t>(options_.top_k))
                               : order.size();
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(keep), order.end(),
                    better);
  order.resize(keep);

  std::vector<double> probability(keep);
  const double best = logits_V[static_cast<std::size_t>(order[0])];
  double sum = 0;
  for (std::size_t i = 0; i < keep; ++i) {
    const double logit = logits_V[static_cast<std::size_t>(order[i])];
    sum += probability[i] = std::exp((logit - best) / options_.temperature);
  }
  // The nucleus: the fewest best tokens that reach top_p (Holtzman et al., 2020).
  double nucleus = 0;
  std::size_t count = 0;
  while (count < keep && (count == 0 || nucleus < options_.top_p * sum)) {
    nucleus += probability[count++];
  }
  double mark = random_.next_uniform() * nucleus;
  for (std::size_t i = 0; i + 1 < count; ++i) {
    if ((mark -= probability[i]) < 0) return order[i];
  }
  return order[count - 1];
}

}  // namespace moebius
