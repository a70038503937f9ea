#include "moe/routing_statistics.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"

namespace moebius {

void RouterStatistics::resize(std::size_t experts) {
  if (tokens_E.empty()) tokens_E.resize(experts);
  if (tokens_E.size() != experts) {
    fail("[routing_statistics] sums of {} experts, and a pass with {}", tokens_E.size(), experts);
  }
}

void RouterStatistics::add(const RoutedTokens& pass) {
  resize(static_cast<std::size_t>(pass.experts));
  std::vector<std::int64_t> counts(tokens_E.size());
  for (const std::int32_t id : pass.ids_TK) ++counts[static_cast<std::size_t>(id)];
  for (std::size_t e = 0; e < counts.size(); ++e) {
    tokens_E[e] += static_cast<double>(counts[e]);
    visits += counts[e] > 0 ? 1 : 0;
  }
  tokens += pass.tokens();
  entropy_sum += pass.entropy_sum;
}

void RouterStatistics::merge(const RouterStatistics& other) {
  if (other.empty()) return;
  resize(other.tokens_E.size());
  for (std::size_t e = 0; e < tokens_E.size(); ++e) tokens_E[e] += other.tokens_E[e];
  tokens += other.tokens;
  visits += other.visits;
  entropy_sum += other.entropy_sum;
}

std::vector<double> RouterStatistics::share_E() const {
  const double all = std::accumulate(tokens_E.begin(), tokens_E.end(), 0.0);
  std::vector<double> share(tokens_E.size());
  if (all == 0) return share;
  for (std::size_t e = 0; e < share.size(); ++e) share[e] = tokens_E[e] / all;
  return share;
}

double RouterStatistics::load_entropy() const {
  double entropy = 0;
  for (const double share : share_E()) {
    if (share > 0) entropy -= share * std::log(share);
  }
  return entropy;
}

double RouterStatistics::router_entropy() const {
  return tokens > 0 ? entropy_sum / static_cast<double>(tokens) : 0;
}

double RouterStatistics::max_violation() const {
  const double all = std::accumulate(tokens_E.begin(), tokens_E.end(), 0.0);
  if (all == 0) return 0;
  const double mean = all / static_cast<double>(tokens_E.size());
  return *std::max_element(tokens_E.begin(), tokens_E.end()) / mean - 1;
}

double RouterStatistics::load_cv() const {
  const double all = std::accumulate(tokens_E.begin(), tokens_E.end(), 0.0);
  if (all == 0) return 0;
  const auto experts = static_cast<double>(tokens_E.size());
  const double mean = all / experts;
  double squares = 0;
  for (const double load : tokens_E) squares += (load - mean) * (load - mean);
  return std::sqrt(squares / experts) / mean;
}

std::vector<std::int64_t> RouterStatistics::dead_experts() const {
  std::vector<std::int64_t> dead;
  for (std::size_t e = 0; e < tokens_E.size(); ++e) {
    if (tokens > 0 && tokens_E[e] == 0) dead.push_back(static_cast<std::int64_t>(e));
  }
  return dead;
}

void RoutingStatistics::merge(const RoutingStatistics& other) {
  if (other.layers.empty()) return;
  if (layers.empty()) layers.resize(other.layers.size());
  if (layers.size() != other.layers.size()) {
    fail("[routing_statistics] sums of {} layers, and others of {}", layers.size(),
         other.layers.size());
  }
  for (std::size_t l = 0; l < layers.size(); ++l) layers[l].merge(other.layers[l]);
}

std::vector<std::size_t> RoutingStatistics::moe_layers() const {
  std::vector<std::size_t> numbers;
  for (std::size_t l = 0; l < layers.size(); ++l) {
    if (!layers[l].empty()) numbers.push_back(l);
  }
  return numbers;
}

double RoutingStatistics::visits() const {
  double sum = 0;
  for (const RouterStatistics& layer : layers) sum += layer.visits;
  return sum;
}

template <class Figure>
double RoutingStatistics::mean(Figure figure) const {
  double sum = 0, count = 0;
  for (const RouterStatistics& layer : layers) {
    if (layer.empty()) continue;
    sum += figure(layer);
    ++count;
  }
  return count > 0 ? sum / count : 0;
}

double RoutingStatistics::router_entropy() const {
  return mean([](const RouterStatistics& layer) { return layer.router_entropy(); });
}

double RoutingStatistics::load_cv() const {
  return mean([](const RouterStatistics& layer) { return layer.load_cv(); });
}

double RoutingStatistics::max_violation() const {
  double worst = 0;
  for (const RouterStatistics& layer : layers) worst = std::max(worst, layer.max_violation());
  return worst;
}

std::int64_t RoutingStatistics::dead_experts() const {
  std::int64_t dead = 0;
  for (const RouterStatistics& layer : layers) dead += std::ssize(layer.dead_experts());
  return dead;
}

double softmax_entropy(std::span<const float> scores) {
  const double max = *std::max_element(scores.begin(), scores.end());
  double sum = 0, weighted = 0;
  for (const float score : scores) {
    const double shifted = score - max, e = std::exp(shifted);
    sum += e;
    weighted += e * shifted;
  }
  return std::log(sum) - weighted / sum;
}

}  // namespace moebius
