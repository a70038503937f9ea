#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/memory.h"
#include "base/staged.h"
#include "convert/convert.h"
#include "data/documents.h"
#include "data/synth.h"
#include "demo/budget.h"
#include "demo/demo.h"
#include "demo/measure.h"
#include "hub/resolve.h"
#include "infer/backends/inference_model.h"
#include "model/load.h"
#include "model/runtime.h"
#include "text/bpe_trainer.h"
#include "train/train.h"

namespace moebius {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int vocabulary = 1024;
constexpr std::int64_t sequence = 128, batch = 16;
constexpr const char* domain_names[] = {"finance", "legal", "code", "general"};

class Demo {
 public:
  Demo(const DemoOptions& options, const Context& ctx,
       const std::function<void(std::string_view)>& print)
      : options_(options), ctx_(ctx), quiet_(ctx), print_(print), out_(options.out) {
    if (ctx.log.level() == LogLevel::info) quiet_.log = ctx.log.with_level(LogLevel::warn);
  }

  void run() {
    make_data();
    const fs::path dense = options_.model.empty() ? train_dense() : options_.model;
    const fs::path moe = convert_dense(dense);
    const TrainingBudget budget = plan(moe);
    const fs::path dense_on = train_on(dense, "dense-on", budget);
    const fs::path moe_on = train_on(moe, "moe-on", budget);
    report(dense_on, moe_on, budget);
  }

 private:
  /// Prints the line of a step, with the seconds since the last one.
  void line(std::string_view title, std::string_view text) {
    const double seconds = std::chrono::duration<double>(Clock::now() - last_).count();
    last_ = Clock::now();
    print_(fmt::format("{:<9} {:<92} {:>5.0f} s\n", title, text, seconds));
  }

  std::vector<std::string> files(const char* part) const {
    std::vector<std::string> names;
    for (const char* domain : domain_names) {
      names.push_back(out_ / "data" / fmt::format("{}.{}.jsonl", domain, part));
    }
    return names;
  }

  void make_data() {
    SynthOptions synth;
    synth.out = out_ / "data";
    synth.samples = options_.samples;
    synth.overwrite = true;
    synthesise(synth, quiet_);
    std::string tokenizer_text = "the model's tokenizer";
    if (options_.model.empty()) {
      tokenizer_folder_ = out_ / "tokenizer";
      tokenizer_text = fmt::format("vocabulary {}", make_tokenizer());
    } else {
      tokenizer_folder_ = options_.model;
    }
    const Tokenizer tokenizer = Tokenizer::load(tokenizer_folder_);
    std::size_t tokens = 0;
    for (const std::string& file : files("train")) {
      for (const std::string& text : read_documents(file)) {
        tokens += tokenizer.encode(text).size();
      }
    }
    line("data", fmt::format("4 domains x {} samples · {:.2f} M tokens to train on · {}",
                             options_.samples, static_cast<double>(tokens) / 1e6, tokenizer_text));
  }

  int make_tokenizer() const {
    std::vector<std::string> documents;
    for (const std::string& file : files("train")) {
      for (std::string& text : read_documents(file)) documents.push_back(std::move(text));
    }
    const std::vector<std::string> special{"<|endoftext|>"};
    const std::string json = train_byte_level_bpe(documents, vocabulary, special, [](int, int) {});
    fs::create_directories(tokenizer_folder_);
    write_file_atomically(tokenizer_folder_ / "tokenizer.json", json);
    write_file_atomically(
        tokenizer_folder_ / "tokenizer_config.json",
        Json{{"tokenizer_class", "PreTrainedTokenizerFast"}, {"eos_token", special[0]}}.dump(2) +
            "\n");
    return Tokenizer::load(tokenizer_folder_).vocab_size();
  }

  static Json llama_config(int vocab, std::int64_t width) {
    return {{"architectures", {"LlamaForCausalLM"}},
            {"model_type", "llama"},
            {"vocab_size", vocab},
            {"hidden_size", 128},
            {"intermediate_size", width},
            {"num_hidden_layers", 4},
            {"num_attention_heads", 4},
            {"num_key_value_heads", 4},
            {"max_position_embeddings", 512},
            {"rms_norm_eps", 1e-5},
            {"rope_theta", 10000.0},
            {"hidden_act", "silu"},
            {"tie_word_embeddings", true},
            {"bos_token_id", 0},
            {"eos_token_id", 0},
            {"dtype", "float32"}};
  }

  TrainOptions training(const std::string& name, std::int64_t steps, double lr) const {
    TrainOptions train;
    train.data = files("train");
    train.sequence = sequence_;
    train.batch = batch_;
    train.overwrite = true;
    train.loop.out = out_ / "runs" / name;
    train.loop.steps = steps;
    train.loop.keep = 1;
    train.loop.schedule.lr = lr;
    train.loop.schedule.warmup = std::min<std::int64_t>(20, steps / 5);
    return train;
  }

  fs::path train_dense() {
    const fs::path config = out_ / "dense.json";
    const int vocab = Tokenizer::load(tokenizer_folder_).vocab_size();
    write_file_atomically(config, llama_config(vocab, 512).dump(2) + "\n");
    TrainOptions train = training("dense", options_.dense_steps, 3e-3);
    train.model_config = config;
    train.tokenizer = tokenizer_folder_;
    const TrainReport report = moebius::train(train, ctx_);
    line(
        "dense",
        fmt::format("llama, 4 layers, {:.2f} M parameters · {} steps · loss {:.3f}",
                    static_cast<double>(model_cost(read_model_spec(report.model)).parameters) / 1e6,
                    report.steps, report.last_loss));
    return report.model;
  }

  fs::path convert_dense(const fs::path& dense) {
    ConvertOptions convert;
    convert.model = dense;
    convert.out = out_ / "moe-start";
    convert.experts = options_.experts;
    convert.top_k = options_.top_k;
    convert.every = options_.every;
    convert.overwrite = true;
    const ConversionReport report = moebius::convert(convert, quiet_);
    std::string layers;
    for (const LayerRecord& row : report.layers) {
      if (row.kept) layers += fmt::format(" {}", row.layer);
    }
    if (layers.empty()) fail("{}: no layer could be converted", dense.string());
    line("convert", fmt::format("layers{} · {} experts, top-{} · max |logit difference| / max "
                                "|logit| {:.1e}{}",
                                layers, options_.experts, options_.top_k, report.dense_exact,
                                report.dense_exact <= 1e-5 ? " = dense" : ""));
    return convert.out;
  }

  /// What can be trained in the given time and memory; the built-in small model always fits.
  TrainingBudget plan(const fs::path& moe) {
    // The tensor backend has the speed of training's forward pass.
    const auto model = tensor_inference(load_model(moe, std::nullopt, at::kCPU));
    const ModelSpec& spec = model->spec();
    context_ = std::min<std::int64_t>(256, spec.context);
    if (options_.model.empty()) return {"all", options_.steps, 0, 0, ""};
    sequence_ = std::min(sequence, spec.context);
    batch_ = 2;
    const Tokenizer tokenizer = Tokenizer::load(tokenizer_folder_);
    const auto text = read_domains(out_ / "data", tokenizer, std::nullopt,
                                   static_cast<std::size_t>(2 * sequence_));
    const EvalResult probe = evaluate_ids(*model, text[0].ids, sequence_, nullptr, quiet_);
    const double second_per_token = probe.seconds / static_cast<double>(probe.tokens);
    const double seconds = options_.minutes * 60;
    // The time is for two trainings, and three rounds over two models and four domains.
    heldout_limit_ = std::max<std::size_t>(
        64, static_cast<std::size_t>(seconds * 0.3 / second_per_token / (3 * 2 * 4)));
    const TrainingBudget budget = plan_training(
        spec, sequence_ * batch_, second_per_token * static_cast<double>(sequence_ * batch_),
        seconds * 0.3, options_.steps,
        static_cast<std::int64_t>(0.8 * static_cast<double>(available_memory())));
    line("budget",
         fmt::format("{:.1f} GB for training, {:.1f} GB free · {} steps of {} tokens{}",
                     static_cast<double>(budget.bytes) / 1e9,
                     static_cast<double>(budget.available) / 1e9, budget.steps, sequence_ * batch_,
                     budget.reason.empty() ? "" : fmt::format(" · {}", budget.reason)));
    return budget;
  }

  /// Continues training of `start`; returns it unchanged if the budget has no steps.
  fs::path train_on(const fs::path& start, const std::string& name, const TrainingBudget& budget) {
    const bool has_router = name == "moe-on";
    if (budget.steps < 1 || (budget.train == "router" && !has_router)) return start;
    TrainOptions train = training(name, budget.steps, options_.model.empty() ? 1.5e-3 : 1e-5);
    train.init = start;
    train.loop.train = budget.train;
    const TrainReport report = moebius::train(train, ctx_);
    line(has_router ? "MoE on" : "dense on",
         fmt::format("{} steps · {:.2f} M tokens · loss {:.3f} -> {:.3f} · {:.0f} tokens/s trained",
                     report.steps, static_cast<double>(report.tokens) / 1e6, report.first_loss,
                     report.last_loss, report.tokens_per_s));
    return report.model;
  }

  /// A dense model with as many parameters as the MoE and random weights, to measure its speed.
  fs::path make_big_dense(const fs::path& moe) const {
    const ModelSpec spec = read_model_spec(moe);
    std::int64_t width = 0;
    for (const LayerSpec& layer : spec.layers) {
      width += layer.moe ? layer.moe->experts * layer.moe->width : layer.width;
    }
    width /= static_cast<std::int64_t>(spec.layers.size());
    const Json config = llama_config(static_cast<int>(spec.vocab), width);
    const fs::path folder = out_ / "dense-of-moe-size";
    fs::create_directories(folder);
    write_file_atomically(folder / "config.json", config.dump(2) + "\n");
    const ModelSpec big = parse_model_spec(config, folder.string());
    save_weights(big, init_weights(big, ctx_.seed), DType::f32, folder, SIZE_MAX);
    return folder;
  }

  /// Prints the table and writes the same figures to `demo.json`.
  void report(const fs::path& dense, const fs::path& moe, const TrainingBudget& budget) {
    const Tokenizer tokenizer = Tokenizer::load(tokenizer_folder_);
    const ModelSpec spec = read_model_spec(moe);
    std::optional<std::int64_t> eos;
    if (!spec.eos.empty()) eos = spec.eos[0];
    const auto domains = read_domains(out_ / "data", tokenizer, eos, heldout_limit_);
    const bool trained = budget.steps >= 1;
    std::vector<DemoRow> rows{
        {trained && budget.train == "all" ? "dense, trained on" : "dense", dense},
        {trained ? "MoE, trained on" : "MoE", moe}};
    if (options_.model.empty()) {
      rows.push_back({"dense of that size", make_big_dense(moe), /*speed_only=*/true});
    }
    measure_rows(rows, domains, context_, 3, quiet_);
    line("measure", fmt::format("{} held-out tokens, three rounds", rows[0].total.tokens));
    print_(fmt::format("\n{}", format_table(rows)));
    print_(fmt::format("experts   {}\n", format_experts(rows[1])));
    const double dense_ppl = rows[0].total.perplexity, moe_ppl = rows[1].total.perplexity;
    print_(fmt::format(
        "verdict   perplexity of the MoE is {:.1f} % {} than that of the dense model; "
        "its speed is {:.2f} x the dense model's{}\n",
        100 * std::abs(moe_ppl / dense_ppl - 1), moe_ppl <= dense_ppl ? "lower" : "higher",
        rows[1].tokens_per_s / rows[0].tokens_per_s,
        rows.size() > 2 ? fmt::format(", {:.2f} x that of a dense model of its size",
                                      rows[1].tokens_per_s / rows[2].tokens_per_s)
                        : ""));
    const fs::path saved = out_ / "moe";
    StagedDirectory staged(saved, /*overwrite=*/false);
    fs::copy(moe, staged.path(), fs::copy_options::recursive);
    staged.commit();
    write_file_atomically(out_ / "demo.json", json_of(rows).dump(2) + "\n");
    print_(
        fmt::format("saved     {} (opens in transformers) · next: moebius generate {} --prompt "
                    "\"The company\"\n",
                    saved.string(), saved.string()));
  }

  const DemoOptions& options_;
  const Context& ctx_;
  Context quiet_;
  const std::function<void(std::string_view)>& print_;
  fs::path out_, tokenizer_folder_;
  std::int64_t sequence_ = sequence, batch_ = batch, context_ = 256;
  std::size_t heldout_limit_ = 0;
  Clock::time_point last_ = Clock::now();
};

}  // namespace

void run_demo(const DemoOptions& options, const Context& ctx,
              const std::function<void(std::string_view)>& print) {
  const ComputeScope scope(ctx);
  DemoOptions local = options;
  if (!local.model.empty()) local.model = resolve_model(local.model, ModelParts::all, ctx);
  // The directory is committed first: later steps write into it.
  StagedDirectory staged(options.out, options.overwrite);
  write_file_atomically(staged.path() / "config.yaml", options.config_echo);
  staged.commit();
  Demo(local, ctx, print).run();
}

}  // namespace moebius
