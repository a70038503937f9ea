// `moebius eval`: perplexity of a model on text, divergence from a reference, routing statistics.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/context.h"
#include "infer/weight_options.h"
#include "moe/routing_statistics.h"

namespace moebius {

struct EvalOptions : WeightOptions {
  fs::path model;
  std::vector<std::string> data;
  std::string key = "text";
  std::int64_t context = 0;  ///< tokens of a window; 0: the smaller of 1024 and the model's
  fs::path reference;

  void declare(OptionSet& options);
};

/// Figures of one text; sums are in f64.
struct EvalResult {
  std::string name;
  std::int64_t tokens = 0;                   ///< predicted tokens
  double nll = 0;                            ///< negative log-likelihood, nats per token
  double perplexity = 0;                     ///< exp(nll)
  std::optional<double> kl, top1_agreement;  ///< KL(reference || model), share of equal argmax
  RoutingStatistics routing;                 ///< of all tokens of the text, also unpredicted ones
  double seconds = 0;
};

struct EvalReport {
  EvalResult total;                 ///< over all files
  std::vector<EvalResult> domains;  ///< by file
};

EvalReport evaluate(const EvalOptions& options, const Context& ctx);

}  // namespace moebius
