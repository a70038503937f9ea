#include "convert/convert.h"

#include <cmath>
#include <future>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/digest.h"
#include "base/error.h"
#include "base/staged.h"
#include "checkpoint/companions.h"
#include "convert/copy.h"
#include "convert/layer_test.h"
#include "convert/prepare.h"
#include "data/model_vocabulary.h"
#include "infer/generate.h"
#include "model/device.h"
#include "model/load.h"
#include "model/runtime.h"

namespace moebius {
namespace {

constexpr std::int64_t sample_tokens = 2;  // one from the prompt, one from the cache

/// Ids of the test prompt; without a tokenizer, ten fixed ids of the vocabulary.
std::vector<std::int32_t> test_ids(const Source& source, const std::optional<Tokenizer>& tokenizer,
                                   const ConvertOptions& options, const Context& ctx) {
  std::vector<std::int32_t> ids;
  if (tokenizer) {
    ids = prompt_ids(source.spec, *tokenizer, options.test_prompt);
  } else {
    ctx.log.warn("{}: no tokenizer; layers are tested on fixed ids instead of a prompt",
                 options.model.string());
    for (std::int64_t i = 0; i < std::min<std::int64_t>(10, source.spec.context); ++i) {
      ids.push_back(static_cast<std::int32_t>((1 + i * 7919) % source.spec.vocab));
    }
  }
  if (static_cast<std::int64_t>(ids.size()) > source.spec.context) {
    fail("--test-prompt has {} tokens, the model's context is {}", ids.size(), source.spec.context);
  }
  return ids;
}

/// Writes the output and tests its layers concurrently, assuming that all are kept; if one is
/// reverted, writes the output again.
class Conversion {
 public:
  Conversion(const PreparedConversion& prepared, const ConvertOptions& options, const Context& ctx,
             const StagedDirectory& staged)
      : sources_(prepared.sources),
        layers_(prepared.layers),
        recipes_(prepared.recipes),
        options_(options),
        ctx_(ctx),
        staged_(staged),
        max_shard_(parse_size(options.max_shard_size, "--max-shard-size")) {}

  void run(const std::vector<std::int32_t>& prompt) {
    plan = plan_output(sources_, layers_, recipes_, options_, ctx_);
    const OutputPlan before = plan_source(sources_, options_, ctx_);
    const auto writing = std::async(std::launch::async, [this] { return write(); }).share();
    // Syncs in the background while the layers and then the output are tested.
    syncing_ = std::async(std::launch::async, [this, writing] {
      writing.wait();
      staged_.sync();
    });
    try {
      // The writer keeps one core busy, which threads would otherwise wait for at barriers.
      const ComputeThreads fewer(std::max(1, ctx_.threads - 1));
      tested = test_layers(before, plan, layers_, prompt, options_.max_kl, ctx_);
    } catch (...) {
      cancel_ = true;
      writing.get();  // an error of the source takes precedence
      throw;
    }
    ctx_.log.debug("layers tested after {:.2f} s", seconds_since(start_));
    std::vector<std::int64_t> kept;
    for (const LayerRecord& row : tested.layers) {
      if (row.kept) kept.push_back(row.layer);
    }
    cancel_ = kept.size() != layers_.size();
    copied = writing.get();
    ctx_.log.debug("weights written after {:.2f} s", seconds_since(start_));
    if (!cancel_) return;
    syncing_.get();
    for (const auto& entry : fs::directory_iterator(staged_.path())) fs::remove(entry.path());
    plan = plan_output(sources_, kept, recipes_, options_, ctx_);
    cancel_ = false;
    copied = write();
    for (const LayerRecord& row : tested.layers) {
      if (!row.kept) ctx_.log.warn("layer {} is reverted to dense: {}", row.layer, row.reason);
    }
  }

  OutputPlan plan;
  LayerTestResult tested;
  CopyResult copied;

  /// Waits for the background sync. Files that were written twice are synced by the commit.
  void wait_for_sync() {
    if (syncing_.valid()) syncing_.get();
  }

 private:
  CopyResult write() const {
    return copy_weights(sources_, plan, staged_.path(), max_shard_, ctx_, cancel_);
  }
  const Sources& sources_;
  const std::vector<std::int64_t>& layers_;
  const Recipes& recipes_;
  const ConvertOptions& options_;
  const Context& ctx_;
  const StagedDirectory& staged_;
  std::size_t max_shard_;
  Clock::time_point start_ = Clock::now();
  std::atomic<bool> cancel_{false};
  std::future<void> syncing_;  // last member: joined before the others are destroyed
};

Json report_json(const ConversionReport& report, const ConvertOptions& options,
                 std::uint64_t seed) {
  Json json;
  json["source"] = {{"path", report.source}, {"digests", report.digests}};
  for (std::size_t s = 0; s < report.more_digests.size(); ++s) {
    json["more_sources"].push_back(
        {{"path", options.sources[s]}, {"digests", report.more_digests[s]}});
  }
  json["options"] = {{"method", name_of(options.method)},
                     {"experts", options.experts},
                     {"top_k", options.top_k},
                     {"every", options.every},
                     {"layers", options.layers},
                     {"plan", options.plan.string()},
                     {"granularity", options.granularity},
                     {"shared", options.shared},
                     {"noise", options.noise},
                     {"drop", options.drop},
                     {"partition", name_of(options.partition)},
                     {"router", options.router ? name_of(*options.router) : ""},
                     {"source", options.sources},
                     {"rest", name_of(options.rest)},
                     {"calibration", options.calibration},
                     {"calibration_tokens", options.calibration_tokens},
                     {"test_prompt", options.test_prompt},
                     {"seed", seed},
                     {"dtype", options.dtype},
                     {"max_shard_size", options.max_shard_size}};
  json["options"]["max_kl"] = options.max_kl < 0 ? Json() : Json(options.max_kl);
  json["layers"] = Json::array();
  for (const LayerRecord& row : report.layers) {
    json["layers"].push_back({{"layer", row.layer},
                              {"method", row.method},
                              {"experts", row.experts},
                              {"top_k", row.top_k},
                              {"kept", row.kept},
                              {"ffn_error", row.ffn_error},
                              {"kl", row.kl},
                              {"agreement", row.agreement},
                              {"reason", row.reason}});
  }
  json["dense_exact"] = report.dense_exact;
  json["parameters"] = report.parameters;
  json["active_parameters"] = report.active_parameters;
  json["seconds"] = report.seconds;
  return json;
}

/// Opens the output and generates a few tokens; throws Error if that fails.
std::string try_output(const fs::path& directory, const std::optional<Tokenizer>& tokenizer,
                       const std::vector<std::int32_t>& ids, const Context& ctx) {
  // Weights stay in the mapped files: the result may be larger than the memory.
  auto model = tensor_inference(load_model(directory, std::nullopt, at::kCPU, Log(LogLevel::off)));
  const std::int64_t context = model->spec().context;
  if (tokenizer) {
    if (std::ssize(ids) >= context) return {};
    OpenModel open = make_open_model(directory, std::move(model), *tokenizer);
    return continue_prompts(open, {&ids, 1}, {.max_tokens = sample_tokens}, ctx, 0,
                            [](std::size_t, std::string_view) {})
        .at(0)
        .text;
  }
  Engine engine(std::move(model));
  const auto last = ids.begin() + std::min(std::ssize(ids), context - 1);
  engine.add({.prompt = {ids.begin(), last}, .max_tokens = 1});
  const NewToken token = engine.step().at(0);
  if (token.error) std::rethrow_exception(token.error);
  return {};
}

}  // namespace

ConversionReport convert(const ConvertOptions& options, const Context& ctx) {
  const ComputeScope scope(ctx);
  const auto start = Clock::now();
  const PreparedConversion prepared(options, ctx);
  const Source& source = prepared.sources.front();
  const fs::path& model = source.directory;
  const std::optional<Tokenizer>& tokenizer = prepared.tokenizer;
  const auto ids = test_ids(source, tokenizer, options, ctx);

  StagedDirectory staged(options.out, options.overwrite);
  Conversion conversion(prepared, options, ctx, staged);
  conversion.run(ids);

  ConversionReport report;
  report.source = options.model.string();
  report.digests = std::move(conversion.copied.digests[0]);
  report.more_digests.assign(conversion.copied.digests.begin() + 1,
                             conversion.copied.digests.end());
  report.layers = conversion.tested.layers;
  for (LayerRecord& row : report.layers) row.method = prepared.methods.at(row.layer);
  report.dense_exact = conversion.tested.dense_exact;
  report.bytes = conversion.copied.bytes;
  const ModelCost cost = model_cost(conversion.plan.spec);
  report.parameters = cost.parameters;
  report.active_parameters = cost.active_parameters;
  report.architecture = conversion.plan.modeling.empty()
                            ? family_of(conversion.plan.spec.family, "").architecture
                            : "MoebiusForCausalLM";
  report.digests["config.json"] = digest_of(read_file(model / "config.json"));
  report.digests.merge(copy_tokenizer(model, staged.path()));
  report.digests.merge(copy_generation_config(model, staged.path()));
  OutputFile(staged.path() / "config.json").append(conversion.plan.config);
  if (!conversion.plan.modeling.empty()) {
    OutputFile(staged.path() / "modeling_moebius.py").append(conversion.plan.modeling);
  }
  report.sample = try_output(staged.path(), tokenizer, ids, ctx);
  ctx.log.debug("output opened and tried after {:.2f} s", seconds_since(start));
  conversion.wait_for_sync();
  report.seconds = seconds_since(start);
  ctx.log.debug("synced after {:.2f} s", report.seconds);
  OutputFile(staged.path() / "conversion.json")
      .append(report_json(report, options, ctx.seed).dump(2) + "\n");
  ctx.check_interrupt();
  for (const Source& each : prepared.sources) each.files.check_unchanged();
  staged.commit();
  return report;
}

}  // namespace moebius
