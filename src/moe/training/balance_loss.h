// Losses that keep the load of experts even. E experts, K experts per token, T tokens.
#pragma once

#include <ATen/core/Tensor.h>

#include <span>

#include "moe/moe.h"
#include "moe/training/balance_form.h"

namespace moebius {

/// (E/K) sum_e f_e P_e of one layer, f_e the share of tokens that chose e (sums to K), P_e the mean
/// softmax of all scores; its minimum is 1 (Switch, Fedus et al. 2021, divided by K so that values
/// for different K compare).
at::Tensor layer_balance_loss(const Routing& routing);

/// Mean of `layer_balance_loss` over the layers.
at::Tensor balance_loss(std::span<const Routing> routings);

/// The form of transformers: f and P pooled over all layers, E sum_e f_e P_e; its minimum is K.
/// Layers that collapse onto different experts cancel out in it. All layers must have the same E.
at::Tensor pooled_balance_loss(std::span<const Routing> routings);

/// The balance loss as an objective adds it.
struct Balance {
  double coefficient = 0;
  BalanceForm form = BalanceForm::layer;

  /// `balance_loss` or `pooled_balance_loss`, before the coefficient.
  at::Tensor loss(std::span<const Routing> routings) const {
    return form == BalanceForm::pooled ? pooled_balance_loss(routings) : balance_loss(routings);
  }
};

}  // namespace moebius
