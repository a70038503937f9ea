// Dense model in, mixture of experts out: what the command line and a server call.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/context.h"
#include "config/options.h"
#include "config/weights.h"

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

/// How a layer is converted; a plan file may say it layer by layer.
struct LayerOptions {
  ConversionMethod method = ConversionMethod::upcycle;
  std::int64_t experts = 4, top_k = 2;
  std::int64_t granularity = 1;  ///< parts of a copy, each an expert
  std::int64_t shared = 0;       ///< expert widths that every token passes
  double noise = 0.0;            ///< times the standard deviation of each matrix
  double drop = 0.0;             ///< share of each expert's neurons that is drawn anew
  NeuronPartition partition = NeuronPartition::activations;
  std::optional<RouterStart> router;  ///< nothing: random, of a split linear

  void declare(OptionSet& options);
};

struct ConvertOptions : LayerOptions {
  fs::path model, out;
  std::int64_t every = 4;
  std::string layers;                    ///< "0,4,8-11" or "all"; empty: every `every`-th
  fs::path plan;                         ///< file that says it instead, layer by layer
  std::vector<std::string> calibration;  ///< text that layers are made from
  std::int64_t calibration_tokens = 8192;
  std::vector<std::string> sources;  ///< more models whose FFNs become experts
  OtherWeights rest = OtherWeights::base;
  std::string dtype;  ///< of the output; empty: as the source
  std::string test_prompt = "The quick brown fox";
  double max_kl = -1.0;  ///< nats; negative: no bound
  std::string max_shard_size = "5GB";
  bool dry_run = false;    ///< for the caller: `forecast` instead of `convert`
  bool overwrite = false;  ///< taken from the common options

  void declare(OptionSet& options);
};

/// A converted layer, as conversion.json has it.
struct LayerRecord {
  std::int64_t layer = 0, experts = 0, top_k = 0;
  std::string method;
  bool kept = false;
  double ffn_error = 0;  ///< ||MoE output - dense output|| / ||dense output|| over the prompt
  double kl = 0;         ///< KL(dense || layers accepted so far and this one), nats, mean
  double agreement = 0;  ///< share of positions with equal argmax
  std::string reason;    ///< why it was reverted; empty when kept
};

using Digests = std::map<std::string, std::string>;  ///< XXH3-128 by file name

struct ConversionReport {
  std::string source;
  Digests digests;
  std::vector<Digests> more_digests;  ///< of `sources`
  std::vector<LayerRecord> layers;
  double dense_exact = 0;  ///< max |logit difference| / max |logit| against the dense model, f32
  std::int64_t parameters = 0, active_parameters = 0;
  std::string architecture;  ///< class that opens the output in transformers
  std::string sample;        ///< what the saved model continued the test prompt with
  std::uint64_t bytes = 0;   ///< weights written
  double seconds = 0;
};

/// Converts, tests layer by layer, writes `options.out` atomically and opens it again.
ConversionReport convert(const ConvertOptions& options, const Context& ctx);

/// What `convert` would give.
struct ConversionForecast {
  std::vector<std::int64_t> layers;
  ModelCost source, result;
  std::uint64_t bytes = 0;        ///< of weights to be written
  std::optional<double> seconds;  ///< to write them at the rate that the disk shows now
};

/// Checks what `convert` checks of options and source, and writes nothing.
ConversionForecast forecast(const ConvertOptions& options, const Context& ctx);

/// Layers that `--layers` or `--every` choose, ascending. Throws UsageError on malformed text,
/// Error for layers out of range.
std::vector<std::int64_t> choose_layers(const std::string& layers, std::int64_t every,
                                        std::int64_t count);

}  // namespace moebius
