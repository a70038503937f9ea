#include "convert/prepare.h"

#include <cmath>

#include "base/error.h"
#include "base/staged.h"
#include "convert/experts.h"
#include "convert/plan_file.h"
#include "convert/prompts.h"
#include "convert/router.h"
#include "convert/split.h"
#include "convert/upcycle.h"
#include "data/calibration_text.h"
#include "data/model_vocabulary.h"
#include "hub/resolve.h"
#include "model/decoder.h"

namespace moebius {
namespace {

constexpr std::int64_t max_experts = 1 << 16;

bool takes_moe(const LayerOptions& options) {
  return options.method == ConversionMethod::expand || options.method == ConversionMethod::merge ||
         options.method == ConversionMethod::prune;
}

bool needs_calibration(const LayerOptions& options) {
  return options.method == ConversionMethod::split || options.method == ConversionMethod::merge ||
         options.method == ConversionMethod::prune || options.router == RouterStart::centroid;
}

/// Throws UsageError unless calibration text is given where it is needed, and only there.
void check_calibration(const ConvertOptions& options, const std::vector<LayerPlan>& rows) {
  const auto row = std::find_if(rows.begin(), rows.end(), [](const LayerPlan& each) {
    return needs_calibration(each.options);
  });
  if (row == rows.end() && !options.calibration.empty()) {
    throw UsageError(
        "--calibration: is for --method split, merge and prune, and --router centroid");
  }
  if (row == rows.end() || !options.calibration.empty()) return;
  const std::string what = row->options.router == RouterStart::centroid
                               ? "--router centroid"
                               : fmt::format("--method {}", name_of(row->options.method));
  throw UsageError(fmt::format("{}: needs --calibration FILE, text such as the model reads", what));
}

/// The initialisation of a router where none is given.
RouterStart default_router(const LayerOptions& options) {
  return options.method == ConversionMethod::split ? RouterStart::linear : RouterStart::random;
}

void check_method(const LayerOptions& options) {
  const auto only = [&](bool given, std::string_view option, std::string_view methods) {
    if (given) throw UsageError(fmt::format("{}: is for --method {}", option, methods));
  };
  const bool upcycle = options.method == ConversionMethod::upcycle,
             split = options.method == ConversionMethod::split;
  only(!upcycle && options.granularity != 1, "--granularity", "upcycle");
  only(!upcycle && options.drop != 0, "--drop", "upcycle");
  only(!upcycle && options.method != ConversionMethod::expand && options.noise != 0, "--noise",
       "upcycle and expand");
  only(takes_moe(options) && options.shared != 0, "--shared", "upcycle and split");
  only(takes_moe(options) && options.router.has_value(), "--router", "upcycle and split");
  if (options.router == RouterStart::linear || options.router == RouterStart::neurons) {
    only(!split, fmt::format("--router {}", name_of(*options.router)), "split");
  }
}

void check_layer_options(const LayerOptions& options, const Context& ctx) {
  check_ranges_of(options);
  check_method(options);
  if (!takes_moe(options) && options.top_k > options.experts) {
    fail("--top-k {} of --experts {}: K must not exceed E", options.top_k, options.experts);
  }
  if (options.experts * options.granularity > max_experts) {
    fail("--experts {} times --granularity {}: more than {} experts", options.experts,
         options.granularity, max_experts);
  }
  if (options.router == RouterStart::zero &&
      (options.granularity > 1 || options.top_k < options.experts)) {
    throw Error("--router zero: all scores tie, so which experts a token gets would be accident",
                "take every expert (--top-k = --experts) and --granularity 1, or another router");
  }
  if (options.method == ConversionMethod::upcycle && options.top_k == 1 &&
      options.granularity == 1) {
    ctx.log.warn(
        "top-1 with renormalised weights: the one weight is always 1, so the router gets no "
        "gradient; --top-k 2 trains");
  }
}

/// Checks that need no plan and no source.
void check_options(const ConvertOptions& options, const Context& ctx) {
  check_ranges_of(options);
  if (options.plan.empty()) check_layer_options(options, ctx);
  if (options.sources.empty() && options.rest != OtherWeights::base) {
    throw UsageError("--rest: is for --source, models whose average it would be");
  }
}

/// Throws Error unless each layer is of the kind that its method converts.
void check_layers(const Source& source, const LayerPlan& row) {
  const std::string place = source.directory.string();
  for (const std::int64_t l : row.layers) {
    const LayerSpec& layer = source.spec.layers[static_cast<std::size_t>(l)];
    if (takes_moe(row.options)) {
      if (!layer.moe)
        fail("--method {}: layer {} of {} is dense", name_of(row.options.method), l, place);
      if (layer.moe->groups != layer.moe->experts) {
        fail("--method {}: layer {} of {} chooses groups of experts, which stay whole",
             name_of(row.options.method), l, place);
      }
      if (layer.moe->limit.groups > 1) {
        fail(
            "--method {}: layer {} of {} chooses among groups of experts (n_group), whose sizes "
            "stay",
            name_of(row.options.method), l, place);
      }
    } else if (layer.moe) {
      fail("layer {} is a mixture of experts already", l);
    }
  }
}

/// Throws Error unless the model is dense, or was converted in part by moebius.
void check_dense(const Source& source) {
  for (const LayerSpec& layer : source.spec.layers) {
    if (!layer.moe || layer.overlay) continue;
    throw Error(fmt::format("{}: has mixtures of experts of its own", source.directory.string()),
                "give a dense model, or one that moebius converted in part; --method expand, merge "
                "and prune take mixtures");
  }
}

/// Throws Error unless both models have the same family and shapes.
void check_alike(const Source& base, const Source& other) {
  if (base.spec.family != other.spec.family) {
    fail("{}: is a {}, and {} a {}", other.directory.string(), other.spec.family,
         base.directory.string(), base.spec.family);
  }
  const std::vector<FileTensor> wanted = file_layout(base.spec), found = file_layout(other.spec);
  for (std::size_t t = 0; t < std::min(wanted.size(), found.size()); ++t) {
    if (found[t].name == wanted[t].name && found[t].shape == wanted[t].shape) continue;
    fail("{}: {} is not as in {}", other.directory.string(), wanted[t].name,
         base.directory.string());
  }
  if (wanted.size() != found.size()) {
    fail("{}: has tensors that {} lacks", other.directory.string(), base.directory.string());
  }
}

/// The source's directory, after the checks that need no source.
fs::path checked_source(const ConvertOptions& options, const Context& ctx) {
  check_options(options, ctx);
  check_output_directory(options.out, options.overwrite);
  const fs::path model = resolve_model(options.model, ModelParts::all, ctx);
  if (fs::exists(options.out) && fs::exists(model) && fs::equivalent(options.out, model)) {
    fail("{}: source and output are the same directory", options.out.string());
  }
  return model;
}

/// The checked rows of the plan, each with its layers.
std::vector<LayerPlan> checked_plan(const Source& source, const ConvertOptions& options,
                                    const Context& ctx) {
  const auto count = static_cast<std::int64_t>(source.spec.layers.size());
  std::vector<LayerPlan> rows = read_plan(options, count);
  if (options.plan.empty() && options.layers.empty() && takes_moe(options)) {
    rows[0].layers.clear();
    for (std::int64_t l = 0; l < count; ++l) {
      if (source.spec.layers[static_cast<std::size_t>(l)].moe) rows[0].layers.push_back(l);
    }
    if (rows[0].layers.empty()) fail("{}: has no mixture of experts", source.directory.string());
  }
  for (LayerPlan& row : rows) {
    try {
      if (!row.where.empty()) check_layer_options(row.options, ctx);
      if (!takes_moe(row.options)) check_dense(source);
      check_layers(source, row);
      if (!row.prompts.empty() && row.options.router != RouterStart::prompts) {
        throw UsageError("prompts: are for the router of that name (router: prompts)");
      }
    } catch (const UsageError& error) {
      if (row.where.empty()) throw;
      throw UsageError(fmt::format("{}: {}", row.where, error.what()), error.hint());
    } catch (const Error& error) {
      if (row.where.empty()) throw;
      throw Error(fmt::format("{}: {}", row.where, error.what()), error.hint());
    }
    if (!row.options.router && !takes_moe(row.options)) {
      row.options.router = default_router(row.options);
    }
  }
  check_calibration(options, rows);
  return rows;
}

/// Computes the recipes of one row of the plan.
class RecipeMaker {
 public:
  RecipeMaker(const PreparedConversion& prepared, const LayerPlan& row,
              const ConvertOptions& options, const Context& ctx)
      : sources_(prepared.sources), row_(row), options_(options), ctx_(ctx) {
    if (row.options.router != RouterStart::prompts) return;
    if (!prepared.tokenizer) {
      fail("{}: no tokenizer for prompts", sources_.front().directory.string());
    }
    prompt_rows_ = prompt_routers(sources_.front(), *prepared.tokenizer, row, ctx);
  }

  /// `trace` may be null unless the row needs calibration.
  LayerRecipe make(std::int64_t layer, const FfnTrace* trace) const {
    const Source& source = sources_.front();
    const ConversionMethod method = row_.options.method;
    if (method == ConversionMethod::expand)
      return expand_layer(source, layer, row_.options, ctx_.seed);
    if (method == ConversionMethod::merge) return merge_layer(source, *trace, row_.options);
    if (method == ConversionMethod::prune) return prune_layer(source, *trace, row_.options);
    const std::vector<float> rows = router_rows(layer, trace);
    if (method == ConversionMethod::split)
      return split_layer(*trace, row_.options, rows, ctx_.seed);
    const WeightSlice down = source.slice(fmt::format("layers.{}.ffn.down.weight", layer));
    return upcycle_layer(sources_, layer, row_.options, rows,
                         output_dtype(options_, down.entry->dtype));
  }

 private:
  std::vector<float> router_rows(std::int64_t layer, const FfnTrace* trace) const {
    const std::optional<RouterStart> router = row_.options.router;
    const std::int64_t experts = row_.options.experts;
    if (router == RouterStart::prompts) return prompt_rows_.at(layer);
    if (router == RouterStart::zero) {
      return std::vector<float>(static_cast<std::size_t>(experts * sources_.front().spec.d_model));
    }
    if (router == RouterStart::centroid)
      return centroid_router(trace->x_TD, experts, ctx_.seed, layer);
    if (router == RouterStart::random)
      return fresh_router(sources_.front(), layer, experts, ctx_.seed);
    return {};  // a split makes its own
  }

  const Sources& sources_;
  const LayerPlan& row_;
  const ConvertOptions& options_;
  const Context& ctx_;
  std::map<std::int64_t, std::vector<float>> prompt_rows_;
};

}  // namespace

PreparedConversion::PreparedConversion(const ConvertOptions& options, const Context& ctx) {
  const Source& source = sources.emplace_back(checked_source(options, ctx), ctx.log);
  for (const std::string& more : options.sources) {
    check_alike(source, sources.emplace_back(resolve_model(more, ModelParts::all, ctx), ctx.log));
  }
  const std::vector<LayerPlan> rows = checked_plan(source, options, ctx);
  tokenizer = tokenizer_beside(source.directory, source.spec);
  std::vector<at::Tensor> windows;
  for (const LayerPlan& row : rows) {
    if (windows.empty() && needs_calibration(row.options)) {
      for (const auto& ids : calibration_windows(source.spec, source.directory, tokenizer,
                                                 options.calibration, options.calibration_tokens)) {
        windows.push_back(ids_tensor(ids));
      }
    }
    const RecipeMaker maker(*this, row, options, ctx);
    if (needs_calibration(row.options)) {
      trace_layers(source, row.layers, windows, ctx, [&](const FfnTrace& trace) {
        recipes.emplace(trace.layer, maker.make(trace.layer, &trace));
      });
    } else {
      for (const std::int64_t layer : row.layers)
        recipes.emplace(layer, maker.make(layer, nullptr));
    }
    for (const std::int64_t layer : row.layers) methods[layer] = name_of(row.options.method);
  }
  for (const auto& [layer, recipe] : recipes) layers.push_back(layer);
}

}  // namespace moebius
