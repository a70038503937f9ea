// Measuring a model on text: perplexity, divergence from a reference, routing.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/context.h"
#include "infer/weight_options.h"

namespace moebius {

struct EvalOptions : WeightOptions {
  fs::path model;
  std::vector<std::string> data;
  std::string key = "text";
  std::int64_t context = 0;  ///< tokens of a window; 0: the smaller of 1024 and the model's
  fs::path reference;

  void declare(OptionSet& options);
};

/// How an MoE layer routed a text.
struct LayerRouting {
  std::int64_t layer = 0;
  std::vector<double> share;       ///< of assignments by expert, sum 1
  double entropy = 0;              ///< of `share`, nats
  double router_entropy = 0;       ///< of the router's softmax, mean over tokens, nats
  std::vector<std::int64_t> dead;  ///< experts that got no token
};

/// Figures of one text. Everything is summed in f64.
struct EvalResult {
  std::string name;
  std::int64_t tokens = 0;                   ///< predicted
  std::int64_t routed = 0;                   ///< tokens that passed the routers
  double nll = 0;                            ///< nats a token
  double perplexity = 0;                     ///< exp(nll)
  std::optional<double> kl, top1_agreement;  ///< KL(reference || model), share of equal argmax
  std::vector<LayerRouting> layers;
  double seconds = 0;
};

struct EvalReport {
  EvalResult total;                 ///< over all files
  std::vector<EvalResult> domains;  ///< by file
};

EvalReport evaluate(const EvalOptions& options, const Context& ctx);

}  // namespace moebius
