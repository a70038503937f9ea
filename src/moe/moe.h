// The MoE layer, one page: four pure functions, each returning a small struct.
//   x_TD -> route -> permute -> experts -> combine -> y_TD
// T tokens, D model width, F expert width, E experts, K experts a token, N = T K rows.
// Losses and metrics come from what is returned; nothing is kept anywhere else.
#pragma once

#include <ATen/core/Tensor.h>

#include "config/weights.h"
#include "kernels/routing.h"
#include "ops/weight.h"

namespace moebius {

using Ffn = FfnOf<Weight>;
using Moe = MoeOf<Weight>;
using Router = RouterOf<Weight>;

/// Which experts each token goes to, and how much each counts.
struct Routing {
  at::Tensor ids_TK;      ///< int64, the best first
  at::Tensor weights_TK;  ///< f32
  at::Tensor logits_TE;   ///< f32: scores of all experts, the input of losses
};

/// Rows of the T K assignments, sorted by expert, tokens in order inside an expert.
struct Permutation {
  at::Tensor rows_N;     ///< int64: the token of each sorted row
  at::Tensor places_N;   ///< int64: the sorted row of assignment t K + k
  at::Tensor offsets_E;  ///< int64: E + 1 borders of the experts' rows
};

/// Scores of all experts in f32: [T, E].
at::Tensor router_logits(const at::Tensor& x_TD, const Router& router, const MoeSpec& moe,
                         Activation activation);

/// What kernels choose experts by, their weights times `multiplier`.
kernels::RoutingRule rule_of(const MoeSpec& moe, double multiplier = 1.0);

/// The K best experts by `router_logits` (whole groups where the spec has groups, of the best
/// groups where it is limited to them; among equals the lower number), and their weights as
/// `moe.weights` says, times the spec's factor.
Routing route(const at::Tensor& x_TD, const Router& router, const MoeSpec& moe,
              Activation activation);

Permutation permute(const Routing& routing, std::int64_t experts);

/// The FFN of expert e alone, of E.
Ffn expert_of(const Ffn& w, std::int64_t e);

/// What the neurons of one FFN answer, act(gate x) * up x or act(up x): [..., F].
at::Tensor ffn_hidden(const at::Tensor& x, const Ffn& w, Activation activation);

/// down(act(gate x) * up x) or down(act(up x)) of one FFN, for rows x [..., D].
at::Tensor ffn(const at::Tensor& x, const Ffn& w, Activation activation);

/// The FFN of each sorted row's expert: [N, D]. An expert without rows costs nothing. On a GPU in
/// bf16 all experts at once, by `grouped_experts`.
at::Tensor experts(const at::Tensor& x_TD, const Permutation& permutation, const Ffn& w,
                   Activation activation);

/// The same as products of all experts at once (at::_grouped_mm), without a look at how many rows
/// each has. bf16, widths multiples of 8.
at::Tensor grouped_experts(const at::Tensor& x_TD, const Permutation& permutation, const Ffn& w,
                           Activation activation);

/// Weighted sum of each token's K rows: [T, D].
at::Tensor combine(const at::Tensor& y_ND, const Permutation& permutation, const Routing& routing);

/// What a MoE layer gives back.
struct MoeOutput {
  at::Tensor y_TD;
  Routing routing;
};

/// The whole layer, shared experts included.
MoeOutput moe_layer(const at::Tensor& x_TD, const Moe& w, const MoeSpec& moe,
                    Activation activation);

}  // namespace moebius
