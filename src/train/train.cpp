#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/staged.h"
#include "checkpoint/writer.h"
#include "data/corpus.h"
#include "data/shards.h"
#include "hub/resolve.h"
#include "infer/generate.h"
#include "model/device.h"
#include "ops/tensor_memory.h"
#include "train/language_model.h"
#include "train/loop.h"

namespace moebius {
namespace {

/// Where training starts: the model, and what its saved forms take over.
struct Start {
  Model model;
  Origin origin;
};

Start open_start(const TrainOptions& options, const Context& ctx) {
  if (options.init.empty() == options.model_config.empty()) {
    throw UsageError("give either --init MODEL or --model-config FILE");
  }
  Start start;
  if (!options.tokenizer.empty()) {
    start.origin.tokenizer = resolve_model(options.tokenizer, ModelParts::tokenizer, ctx);
  }
  if (!options.init.empty()) {
    const fs::path init = resolve_model(options.init, ModelParts::all, ctx);
    start.origin.config = read_file(init / "config.json");
    if (options.tokenizer.empty()) start.origin.tokenizer = init;
    start.origin.generation = init;
    start.model = load_model(init, DType::f32, at::kCPU);
  } else {
    if (options.tokenizer.empty()) throw UsageError("--model-config needs --tokenizer MODEL");
    start.origin.config = read_file(options.model_config);
    const std::string where = options.model_config.string();
    start.model.spec = parse_model_spec(parse_json(start.origin.config, where), where);
    start.model.weights = init_weights(start.model.spec, ctx.seed);
  }
  // Training writes to its weights, so it never works on views of files.
  const auto dtype = options.loop.precision == "bf16" ? at::kBFloat16 : at::kFloat;
  start.model.weights = copy_weights(start.model.weights, dtype, device_of(ctx));
  select_parameters(start.model.weights, options.loop.train);
  return start;
}

/// One shard a file under `run`/shards, found again on resume; a .tok file as it is.
std::vector<TokenShard> open_shards(const TrainOptions& options, const ModelSpec& spec,
                                    const Tokenizer& tokenizer, const fs::path& run,
                                    const Context& ctx) {
  std::optional<std::int64_t> eos;
  if (!spec.eos.empty()) eos = spec.eos[0];
  const auto vocab = static_cast<std::int32_t>(spec.vocab);
  std::vector<TokenShard> shards;
  fs::create_directories(run / "shards");
  for (std::size_t i = 0; i < options.data.size(); ++i) {
    ctx.check_interrupt();
    const fs::path file = options.data[i];
    const fs::path shard = file.extension() == ".tok"
                               ? file
                               : run / "shards" / fmt::format("{}-{}.tok", i, file.stem().string());
    if (shard != file && !fs::exists(shard)) {
      write_token_shard(shard, tokenize_file(file, options.key, tokenizer, eos), vocab);
    }
    shards.push_back(TokenShard::open(shard));
    if (shards.back().vocab_size() > vocab) {
      fail("{}: made for a vocabulary of {}, the model has {}", shard.string(),
           shards.back().vocab_size(), vocab);
    }
  }
  return shards;
}

void check_options(const TrainOptions& options) {
  const auto require = [](bool good, std::string_view text) {
    if (!good) throw UsageError(std::string(text));
  };
  require(options.batch >= 1, "--batch: must be at least 1");
  require(options.loop.accumulate >= 1, "--accumulate: must be at least 1");
  require(options.loop.keep >= 1, "--keep: must be at least 1");
  require(options.loop.optimizer.lr > 0, "--lr: must be positive");
  require(options.loop.optimizer.warmup >= 0, "--warmup: must not be negative");
  require((options.loop.steps > 0) != (options.epochs > 0), "give either --steps or --epochs");
}

}  // namespace

void OptimizerOptions::declare(OptionSet& options) {
  options.add("lr", lr, "highest learning rate");
  options.add("min-lr-ratio", min_lr_ratio, "share of lr that the cosine ends at");
  options.add("warmup", warmup, "steps of linear warm-up");
  options.add("weight-decay", weight_decay, "of matrices and embeddings");
  options.add("beta1", beta1, "AdamW's first decay");
  options.add("beta2", beta2, "AdamW's second decay");
  options.add("eps", eps, "AdamW's epsilon");
  options.add("clip", clip, "largest gradient norm, 0 for none");
}

void LoopOptions::declare(OptionSet& options) {
  options.add("out", out, "run directory").required = true;
  options.add("resume", resume, "go on from the run's last checkpoint");
  options.add("steps", steps, "optimiser steps");
  options.add("accumulate", accumulate, "batches of a step");
  options.add("save-every", save_every, "steps between checkpoints, 0 for one at the end");
  options.add("keep", keep, "checkpoints that stay on disk");
  options.add("train", train, "what trains: all, router, experts, or a pattern as layers.0.*");
  options.choice("precision", precision,
                 "f32; mixed: compute in bf16, with master weights and optimiser in f32; bf16: all "
                 "in bf16, in half the memory, where small updates are lost to rounding",
                 {"f32", "mixed", "bf16"});
  options.add("max-shard-size", max_shard_size, "largest weight file, as 5GB or 300MB");
  optimizer.declare(options);
}

void TrainOptions::declare(OptionSet& options) {
  options.add(
      "init", init,
      "model to train on: directory in Hugging Face layout, GGUF file, or org/name on the hub");
  options.add("model-config", model_config, "config.json of a model to train from scratch");
  options.add("tokenizer", tokenizer, "directory with tokenizer.json (default: that of --init)");
  Option& files = options.add("data", data, "text, .jsonl or .tok files");
  files.many = files.required = true;
  options.add("key", key, "key of the text in .jsonl rows");
  options.add("epochs", epochs, "passes over the data, instead of --steps");
  options.add("batch", batch, "sequences of a batch");
  options.add("sequence", sequence,
              "tokens of a sequence (default: the smaller of 256 and the model's context)");
  options.add("shuffle", shuffle, "visit the data in random order").negatable = true;
  options.add("balance", balance, "coefficient of the balance loss (default: the configuration's)");
  options.choice("balance-form", balance_form, "mean over layers, or pooled as transformers has it",
                 {"layer", "pooled"});
  loop.declare(options);
}

TrainReport train(const TrainOptions& options, const Context& ctx) {
  check_options(options);
  ops::keep_tensor_memory();
  Start start = open_start(options, ctx);
  const ModelSpec& spec = start.model.spec;
  const Tokenizer tokenizer = Tokenizer::load(start.origin.tokenizer);
  check_vocabulary(spec, tokenizer, start.origin.tokenizer);
  const std::int64_t sequence =
      options.sequence > 0 ? options.sequence : std::min<std::int64_t>(256, spec.context);
  if (sequence > spec.context) {
    fail("--sequence {}: the model's context is {}", sequence, spec.context);
  }
  // A new run gets its name, and replaces an old one, only once all that can be wrong is checked.
  const fs::path& run = options.loop.out;
  std::optional<StagedDirectory> staged_run;
  if (!options.loop.resume || !fs::exists(run)) staged_run.emplace(run, options.overwrite);
  const fs::path folder = staged_run ? staged_run->path() : run;
  const double balance = options.balance >= 0 ? options.balance : spec.balance_coefficient;
  LanguageModelObjective objective(open_shards(options, spec, tokenizer, folder, ctx),
                                   options.batch, sequence, options.shuffle, ctx.seed,
                                   {balance, options.balance_form == "pooled"});
  write_file_atomically(folder / "config.yaml", options.config_echo);
  if (staged_run) staged_run->commit();

  LoopOptions loop = options.loop;
  if (options.epochs > 0) {
    const double windows = options.epochs * static_cast<double>(objective.windows());
    loop.steps = static_cast<std::int64_t>(
        std::ceil(windows / static_cast<double>(options.batch * loop.accumulate)));
  }
  TrainReport report = run_loop(start.model, objective, loop, start.origin, ctx);
  report.model = loop.out / "model";
  StagedDirectory staged(report.model, /*overwrite=*/true);
  write_model(start.model, spec.dtype, start.origin, staged.path(),
              parse_size(loop.max_shard_size, "--max-shard-size"));
  staged.commit();
  return report;
}

}  // namespace moebius
