// Routing statistics: what routers did with many tokens, as sums that combine over passes,
// micro-batches and ranks, and the figures that follow from the sums. No tensors here.
// T tokens, E experts, K experts per token.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace moebius {

/// The decisions of one router for the T tokens of a pass.
struct RoutedTokens {
  std::span<const std::int32_t> ids_TK;  ///< chosen experts
  std::int64_t top_k = 0, experts = 0;
  double entropy_sum = 0;  ///< entropy of the softmax over all E scores, nats, summed over T

  std::int64_t tokens() const { return top_k > 0 ? std::ssize(ids_TK) / top_k : 0; }
};

/// Sums of one router. Figures are 0 where no token was routed.
struct RouterStatistics {
  std::vector<double> tokens_E;  ///< tokens that chose each expert; empty in a dense layer
  std::int64_t tokens = 0;
  double visits = 0;       ///< experts with at least one token, summed over passes
  double entropy_sum = 0;  ///< as in `RoutedTokens`

  bool empty() const { return tokens_E.empty(); }
  /// Adds one pass. Throws Error if the number of experts differs from that of earlier passes.
  void add(const RoutedTokens& pass);
  /// Adds the sums of another micro-batch, text or rank. Throws Error as `add` does.
  void merge(const RouterStatistics& other);

  /// Share of all assignments by expert: tokens_E / sum(tokens_E).
  std::vector<double> share_E() const;
  /// Entropy of `share_E` in nats; ln E where the load is even.
  double load_entropy() const;
  /// Entropy of the router's softmax in nats, mean over tokens.
  double router_entropy() const;
  /// max(tokens_E) / mean(tokens_E) - 1 (MaxVio; Wang et al., 2024); 0 where the load is even.
  double max_violation() const;
  /// Coefficient of variation: standard deviation of tokens_E (over E, not E - 1) / mean.
  double load_cv() const;
  /// Numbers of the experts without a token.
  std::vector<std::int64_t> dead_experts() const;

 private:
  void resize(std::size_t experts);
};

/// The statistics of all layers of a model, dense ones included, and figures over its MoE layers.
struct RoutingStatistics {
  std::vector<RouterStatistics> layers;

  /// Throws Error if the layers do not match.
  void merge(const RoutingStatistics& other);

  /// Numbers of the layers that have sums: the MoE layers.
  std::vector<std::size_t> moe_layers() const;
  /// Sum of `visits` over layers.
  double visits() const;
  /// Mean of `router_entropy` over MoE layers.
  double router_entropy() const;
  /// Of the worst MoE layer.
  double max_violation() const;
  /// Mean of `load_cv` over MoE layers.
  double load_cv() const;
  /// Experts without a token, summed over layers.
  std::int64_t dead_experts() const;

 private:
  template <class Figure>
  double mean(Figure figure) const;
};

/// -sum_i p_i ln p_i of p = softmax(scores), in f64.
double softmax_entropy(std::span<const float> scores);

}  // namespace moebius
