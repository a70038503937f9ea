#include "convert/prepare.h"

#include <cmath>

#include "base/error.h"
#include "convert/upcycle.h"
#include "hub/resolve.h"

namespace moebius {
namespace {

constexpr std::int64_t max_experts = 1 << 16;

void check_options(const ConvertOptions& options, const Context& ctx) {
  const auto require = [](bool good, std::string_view text) {
    if (!good) throw UsageError(std::string(text));
  };
  require(options.experts >= 1, "--experts: must be at least 1");
  require(options.top_k >= 1, "--top-k: must be at least 1");
  require(options.granularity >= 1, "--granularity: must be at least 1");
  require(options.shared >= 0, "--shared: must be at least 0");
  require(options.noise >= 0 && std::isfinite(options.noise), "--noise: must be a number >= 0");
  require(options.drop >= 0 && options.drop <= 1, "--drop: must be between 0 and 1");
  require(std::isfinite(options.max_kl), "--max-kl: must be a number");
  if (options.top_k > options.experts) {
    fail("--top-k {} of --experts {}: K must not exceed E", options.top_k, options.experts);
  }
  if (options.experts * options.granularity > max_experts) {
    fail("--experts {} times --granularity {}: more than {} experts", options.experts,
         options.granularity, max_experts);
  }
  if (options.router == "zero" && (options.granularity > 1 || options.top_k < options.experts)) {
    throw Error("--router zero: all scores tie, so which experts a token gets would be accident",
                "take every expert (--top-k = --experts) and --granularity 1, or another router");
  }
  if (options.top_k == 1 && options.granularity == 1) {
    ctx.log.warn(
        "top-1 with renormalised weights: the one weight is always 1, so the router gets no "
        "gradient; --top-k 2 trains");
  }
}

/// Upcycling takes a dense model, or one that moebius converted in part.
void check_dense(const Source& source, const std::vector<std::int64_t>& layers) {
  for (const LayerSpec& layer : source.spec.layers) {
    if (layer.moe && !layer.overlay) {
      throw Error(fmt::format("{}: has mixtures of experts of its own", source.directory.string()),
                  "give a dense model, or one that moebius converted in part");
    }
  }
  for (const std::int64_t l : layers) {
    if (source.spec.layers[static_cast<std::size_t>(l)].moe) {
      fail("layer {} is a mixture of experts already", l);
    }
  }
}

/// The source's directory, after all that needs no source is checked.
fs::path checked_source(const ConvertOptions& options, const Context& ctx) {
  check_options(options, ctx);
  check_output_directory(options.out, options.overwrite);
  const fs::path model = resolve_model(options.model, ModelParts::all, ctx);
  if (fs::exists(options.out) && fs::exists(model) && fs::equivalent(options.out, model)) {
    fail("{}: source and output are the same directory", options.out.string());
  }
  return model;
}

}  // namespace

PreparedConversion::PreparedConversion(const ConvertOptions& options, const Context& ctx)
    : source(checked_source(options, ctx)),
      layers(choose_layers(options.layers, options.every,
                           static_cast<std::int64_t>(source.spec.layers.size()))) {
  check_dense(source, layers);
  for (const std::int64_t layer : layers) {
    recipes.emplace(layer, upcycle_layer(source, layer, options, ctx.seed));
  }
}

}  // namespace moebius
