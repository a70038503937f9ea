// Load balancing and router health, from what the MoE layers returned. E experts, K a token.
#pragma once

#include <ATen/core/Tensor.h>

#include <span>

#include "moe/moe.h"

namespace moebius {

/// (E/K) sum_e f_e P_e of one layer, f_e the share of tokens that chose e (sums to K), P_e the mean
/// softmax of all scores; its minimum is 1 (Switch, Fedus et al. 2021, with the 1/K that makes K
/// comparable).
at::Tensor layer_balance_loss(const Routing& routing);

/// Mean of `layer_balance_loss` over the layers.
at::Tensor balance_loss(std::span<const Routing> routings);

/// The form of transformers: f and P pooled over all layers, E sum_e f_e P_e; its minimum is K.
/// Layers of opposite collapse cancel out in it. All layers must have the same E.
at::Tensor pooled_balance_loss(std::span<const Routing> routings);

/// Over the MoE layers of one step.
struct RouterHealth {
  double entropy = 0;             ///< of the router's softmax, nats, mean over tokens and layers
  double max_violation = 0;       ///< largest load / mean load - 1, of the worst layer (MaxVio)
  std::int64_t dead_experts = 0;  ///< experts without a token, summed over layers
};
RouterHealth router_health(std::span<const Routing> routings);

/// How far the experts of a layer are apart: sqrt(mean_e ||W_e - W||^2) / ||W||, W being their
/// mean, over all matrices. 0 for copies.
double expert_distance(const Moe& moe);

}  // namespace moebius
