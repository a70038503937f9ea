// The weighting of chosen experts and its gradient, for the CPU, GPUs and tensors. A weighting is a
// row of `weighting_of`. With s_e the logit of expert e, f the score function and D the domain of
// the normaliser:
//   p_e = f(s_e) / (epsilon + sum over D of f(s)), or f(s_e) without a normaliser
//   w_e = p_e, or 1 + u_e p_e with learned u
// For the chosen, dp_e = dw_e or u_e dw_e; for the others dp_e = 0. Then, with mean = sum of dp p,
//   ds_e = f'(s_e) (dp_e - mean) / sum over D, or f'(s_e) dp_e;  du_e = dw_e p_e
#pragma once

#include <cmath>

#include "kernels/types.h"

#ifdef __CUDACC__
#define MOEBIUS_HOST_DEVICE __host__ __device__
#else
#define MOEBIUS_HOST_DEVICE
#endif

namespace moebius::kernels {

struct RouterWeighting {
  enum class Score { exponential, sigmoid, constant };
  enum class Domain { none, chosen, all };

  Score score;
  Domain domain = Domain::none;
  bool learned = false;  ///< 1 + u p
  float epsilon = 0.0f;  ///< of the normaliser
};

/// The one list of weightings; `modeling_moebius.py` has its like.
MOEBIUS_HOST_DEVICE constexpr RouterWeighting weighting_of(RouterWeights kind) {
  using Score = RouterWeighting::Score;
  using Domain = RouterWeighting::Domain;
  switch (kind) {
    case RouterWeights::softmax_renorm:
      return {Score::exponential, Domain::chosen};
    case RouterWeights::softmax:
      return {Score::exponential, Domain::all};
    case RouterWeights::sigmoid:
      return {Score::sigmoid};
    case RouterWeights::sigmoid_renorm:
      return {Score::sigmoid, Domain::chosen, false, 1e-20f};
    case RouterWeights::one:
      return {Score::constant};
    case RouterWeights::one_plus:
      return {Score::exponential, Domain::all, true};
  }
  return {Score::constant};
}

/// f(s); exponentials are relative to e^max, max being the largest logit of the domain.
MOEBIUS_HOST_DEVICE inline float router_score(const RouterWeighting& w, float s, float max) {
  if (w.score == RouterWeighting::Score::exponential) return expf(s - max);
  if (w.score == RouterWeighting::Score::sigmoid) return 1 / (1 + expf(-s));
  return 1;
}

/// p, from a score and the normaliser, its sum with epsilon.
MOEBIUS_HOST_DEVICE inline float router_share(const RouterWeighting& w, float score,
                                              float normaliser) {
  return w.domain == RouterWeighting::Domain::none ? score : score / normaliser;
}

/// w from p; u is read of learned weightings alone.
MOEBIUS_HOST_DEVICE inline float router_weight(const RouterWeighting& w, float share,
                                               const float* u) {
  return w.learned ? 1 + share * *u : share;
}

/// ds of an expert in the domain, or of a chosen one where there is none. `dshare` is dp, `mean`
/// the sum of dp p over the chosen.
MOEBIUS_HOST_DEVICE inline float router_logit_gradient(const RouterWeighting& w, float score,
                                                       float normaliser, float dshare, float mean) {
  const bool normalised = w.domain != RouterWeighting::Domain::none;
  const float dscore = normalised ? (dshare - mean) / normaliser : dshare;
  if (w.score == RouterWeighting::Score::exponential) return dscore * score;
  if (w.score == RouterWeighting::Score::sigmoid) return dscore * score * (1 - score);
  return 0;
}

}  // namespace moebius::kernels
