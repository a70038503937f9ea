#include "train/train.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/digest.h"
#include "base/error.h"
#include "base/staged.h"
#include "checkpoint/companions.h"
#include "checkpoint/writer.h"
#include "data/batch_sampler.h"
#include "data/corpus.h"
#include "data/model_vocabulary.h"
#include "hub/resolve.h"
#include "model/device.h"
#include "model/runtime.h"
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
    start.model = load_model(init, DType::f32, at::kCPU, ctx.log);
  } else {
    if (options.tokenizer.empty()) throw UsageError("--model-config needs --tokenizer MODEL");
    start.origin.config = read_file(options.model_config);
    const std::string where = options.model_config.string();
    start.model.spec = parse_model_spec(parse_json(start.origin.config, where), where);
    start.model.weights = init_weights(start.model.spec, ctx.seed);
  }
  start.model.spec.expert_layout = expert_layout_from(options.loop.expert_layout);
  file_layout(start.model.spec);  // throws now if the family has no such layout
  // Training writes to its weights, so it never works on views of files.
  const auto dtype = options.loop.precision == Precision::bf16 ? at::kBFloat16 : at::kFloat;
  start.model.weights = copy_weights(start.model.weights, dtype, device_of(ctx));
  trained_parameters(start.model.weights, options.loop.train, options.loop.groups);
  return start;
}

/// A digest of what the tokens of a text file depend on: its bytes, the tokenizer's files, and how
/// documents become tokens.
std::string source_digest(const fs::path& file, const fs::path& tokenizer, const std::string& key,
                          std::optional<std::int64_t> eos) {
  Digest digest;
  const auto add = [&](std::string_view text) {
    digest.add(std::as_bytes(std::span(text.data(), text.size())));
  };
  for (const auto& [name, of_file] : tokenizer_digests(tokenizer)) add(name + of_file);
  add(fmt::format("key {} eos {} ", key, eos ? std::to_string(*eos) : "none"));
  digest.add(MappedFile::open(file)->bytes());
  return digest.hex();
}

/// Token shards of the data files, one each: a .tok file as it is, others tokenised once under
/// `run`/shards. A resumed run finds them there; one that was made from another file, tokenizer or
/// key is an error.
std::vector<TokenShard> open_shards(const TrainOptions& options, const ModelSpec& spec,
                                    const Tokenizer& tokenizer, const fs::path& tokenizer_folder,
                                    const fs::path& run, const Context& ctx) {
  std::optional<std::int64_t> eos;
  if (!spec.eos.empty()) eos = spec.eos[0];
  const auto vocab = static_cast<std::int32_t>(spec.vocab);
  std::vector<TokenShard> shards;
  fs::create_directories(run / "shards");
  for (std::size_t i = 0; i < options.data.size(); ++i) {
    ctx.check_interrupt();
    const fs::path file = options.data[i];
    const bool tokens = file.extension() == ".tok";
    const fs::path shard =
        tokens ? file : run / "shards" / fmt::format("{}-{}.tok", i, file.stem().string());
    if (!tokens && fs::exists(shard) && !fs::exists(file)) {
      ctx.log.warn("{} is gone; going on with its tokens in {}", file.string(), shard.string());
    } else if (!tokens) {
      const std::string digest = source_digest(file, tokenizer_folder, options.key, eos);
      if (!fs::exists(shard)) {
        write_token_shard(shard, tokenize_file(file, options.key, tokenizer, eos), vocab, digest);
      } else if (TokenShard::open(shard).source_digest() != digest) {
        throw Error(fmt::format("{}: the file, the tokenizer or --key changed since {} was made",
                                file.string(), shard.string()),
                    "restore them to resume, or start a new run with --overwrite");
      }
    }
    shards.push_back(TokenShard::open(shard));
    if (shards.back().vocab_size() > vocab) {
      fail("{}: made for a vocabulary of {}, the model has {}", shard.string(),
           shards.back().vocab_size(), vocab);
    }
  }
  return shards;
}

}  // namespace

TrainReport train(const TrainOptions& options, const Context& ctx) {
  options.check();
  const ComputeScope scope(ctx);
  const ops::KeptTensorMemory memory;
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
  BatchSampler sampler(open_shards(options, spec, tokenizer, start.origin.tokenizer, folder, ctx),
                       static_cast<int>(options.batch), static_cast<int>(sequence), options.shuffle,
                       ctx.seed);
  const auto windows = static_cast<double>(sampler.windows());
  LanguageModelObjective objective(
      std::move(sampler), options.data,
      {.coefficient = options.balance >= 0 ? options.balance : spec.balance_coefficient,
       .form = options.balance_form});
  if (staged_run) staged_run->commit();

  LoopOptions loop = options.loop;
  if (options.epochs > 0) {
    loop.steps = static_cast<std::int64_t>(
        std::ceil(options.epochs * windows / static_cast<double>(options.batch * loop.accumulate)));
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
