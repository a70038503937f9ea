// Options of a conversion.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "config/options.h"

namespace moebius {

enum class ConversionMethod { upcycle, split, expand, merge, prune };
constexpr auto names_of(ConversionMethod) {
  return std::array{"upcycle", "split", "expand", "merge", "prune"};
}
/// How a split divides the neurons among the experts.
enum class NeuronPartition { random, weights, activations };
constexpr auto names_of(NeuronPartition) {
  return std::array{"random", "weights", "activations"};
}
/// How a router starts.
enum class RouterStart { random, zero, centroid, prompts, linear, neurons };
constexpr auto names_of(RouterStart) {
  return std::array{"random", "zero", "centroid", "prompts", "linear", "neurons"};
}
/// What becomes of the weights beside the experts where there are several sources.
enum class OtherWeights { base, average };
constexpr auto names_of(OtherWeights) {
  return std::array{"base", "average"};
}

/// How one layer is converted; a plan file may set these layer by layer.
struct LayerOptions {
  ConversionMethod method = ConversionMethod::upcycle;
  std::int64_t experts = 4, top_k = 2;
  std::int64_t granularity = 1;  ///< parts of a copy, each an expert
  std::int64_t shared = 0;       ///< width of the shared expert, in widths of a routed one
  double noise = 0.0;            ///< times the standard deviation of each matrix
  double drop = 0.0;             ///< share of each expert's neurons that is initialised again
  NeuronPartition partition = NeuronPartition::activations;
  std::optional<RouterStart> router;  ///< nothing: random, of a split linear

  void declare(OptionSet& options);
};

struct ConvertOptions : LayerOptions {
  fs::path model, out;
  std::int64_t every = 4;
  std::string layers;                    ///< "0,4,8-11" or "all"; empty: every `every`-th
  fs::path plan;                         ///< YAML file with options by layer, instead of `layers`
  std::vector<std::string> calibration;  ///< text files that layers are computed from
  std::int64_t calibration_tokens = 8192;
  std::vector<std::string> sources;  ///< more models whose FFNs become experts
  OtherWeights rest = OtherWeights::base;
  std::string dtype;          ///< of the output; empty: as the source
  std::string expert_layout;  ///< fused or separate; empty: the family's usual one
  std::string test_prompt = "The quick brown fox";
  double max_kl = -1.0;  ///< nats; negative: no bound
  std::string max_shard_size = "5GB";
  bool dry_run = false;    ///< for the caller: `forecast` instead of `convert`
  bool overwrite = false;  ///< taken from the common options

  void declare(OptionSet& options);
};

}  // namespace moebius
