#include "convert/prepare.h"

#include <cmath>

#include "base/error.h"
#include "convert/calibrate.h"
#include "convert/split.h"
#include "convert/upcycle.h"
#include "data/corpus.h"
#include "hub/resolve.h"
#include "infer/generate.h"

namespace moebius {
namespace {

constexpr std::int64_t max_experts = 1 << 16;
constexpr std::int64_t max_calibration_tokens = 1 << 20;

void check_split(const ConvertOptions& options) {
  const auto only_upcycle = [](bool given, std::string_view option) {
    if (given) throw UsageError(fmt::format("{}: is for --method upcycle", option));
  };
  only_upcycle(options.granularity != 1, "--granularity");
  only_upcycle(options.noise != 0, "--noise");
  only_upcycle(options.drop != 0, "--drop");
  if (options.calibration.empty()) {
    throw UsageError("--method split: needs --calibration FILE, text such as the model reads");
  }
  if (options.calibration_tokens < 2 || options.calibration_tokens > max_calibration_tokens) {
    throw UsageError(
        fmt::format("--calibration-tokens: must be between 2 and {}", max_calibration_tokens));
  }
}

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
  if (options.method == "split") return check_split(options);
  require(options.router.empty() || options.router == "random" || options.router == "zero",
          "--router: linear and neurons are for --method split");
  require(options.calibration.empty(), "--calibration: is for --method split");
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

std::optional<Tokenizer> tokenizer_of(const Source& source) {
  if (!Tokenizer::exists(source.directory)) return std::nullopt;
  Tokenizer tokenizer = Tokenizer::load(source.directory);
  check_vocabulary(source.spec, tokenizer, source.directory);
  return tokenizer;
}

std::vector<std::int32_t> calibration_ids(const Source& source,
                                          const std::optional<Tokenizer>& tokenizer,
                                          const ConvertOptions& options) {
  if (!tokenizer) {
    throw Error(fmt::format("{}: no tokenizer for --calibration", source.directory.string()),
                "put the model's tokenizer.json beside its weights");
  }
  std::optional<std::int64_t> eos;
  if (!source.spec.eos.empty()) eos = source.spec.eos[0];
  const auto wanted = static_cast<std::size_t>(options.calibration_tokens);
  const std::size_t each = (wanted + options.calibration.size() - 1) / options.calibration.size();
  std::vector<std::int32_t> ids;
  for (const std::string& file : options.calibration) {
    const auto more = tokenize_file(file, "text", *tokenizer, eos);
    ids.insert(ids.end(), more.begin(),
               more.begin() + static_cast<std::ptrdiff_t>(std::min(each, more.size())));
  }
  check_ids(source.spec, ids);
  return ids;
}

}  // namespace

PreparedConversion::PreparedConversion(const ConvertOptions& options, const Context& ctx)
    : source(checked_source(options, ctx)),
      layers(choose_layers(options.layers, options.every,
                           static_cast<std::int64_t>(source.spec.layers.size()))),
      tokenizer(tokenizer_of(source)) {
  check_dense(source, layers);
  ConvertOptions chosen = options;
  if (chosen.router.empty()) chosen.router = options.method == "split" ? "linear" : "random";
  if (options.method == "split") {
    trace_ffns(source, layers, calibration_ids(source, tokenizer, chosen), ctx,
               [&](const FfnTrace& trace) {
                 recipes.emplace(trace.layer, split_layer(source, trace, chosen, ctx.seed));
               });
    return;
  }
  for (const std::int64_t layer : layers) {
    recipes.emplace(layer, upcycle_layer(source, layer, chosen, ctx.seed));
  }
}

}  // namespace moebius
