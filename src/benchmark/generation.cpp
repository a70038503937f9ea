#include "benchmark/generation.h"

#include <algorithm>
#include <cmath>

#include "benchmark/cost.h"
#include "benchmark/random_model.h"
#include "config/families.h"
#include "hub/resolve.h"
#include "infer/backends/inference_model.h"
#include "infer/engine/sampler.h"

namespace moebius {
namespace {

using kernels::Limits;

bool on_cpu(const Context& ctx) {
  return ctx.device == "cpu";
}

}  // namespace

class GenerationSubject::Impl {
 public:
  Impl(const fs::path& path, const BenchOptions& options, const Context& ctx)
      : options_(options), ctx_(ctx), model_(open(path)) {
    check();
    RoutingRecorder prefill, decode;  // which experts a pass reads depends on its tokens
    run(nullptr, &prefill, &decode);
    prefill_visits_ = prefill.statistics().visits() / passes_of_prompt() / batch();
    decode_visits_ = decode.statistics().visits() / steps();
  }

  void measure(Stopwatch& watch) { run(&watch, nullptr, nullptr); }

  ModelReport report() {
    const auto phase = [&](const std::vector<Stretch>& stretches, const PassCost& cost,
                           double tokens) {
      PhaseReport out;
      out.flops = cost.flops / tokens;
      out.bytes = cost.bytes / tokens;
      std::vector<double> shares;
      for (const Stretch& s : stretches) {
        const double rate = s.tokens / s.seconds;
        out.rates.push_back(rate);
        shares.push_back(std::max(rate * out.flops / 1e9 / peak_of(s.limits),
                                  rate * out.bytes / 1e9 / s.limits.read_gbps));
      }
      out.tokens_per_s = figure_of(out.rates);
      out.gflops = out.tokens_per_s.median * out.flops / 1e9;
      out.gbps = out.tokens_per_s.median * out.bytes / 1e9;
      out.share = figure_of(shares).median;
      return out;
    };
    PassCost prompt;
    for (std::int64_t begin = 0; begin < options_.prompt; begin += max_pass_tokens) {
      const std::int64_t count = std::min(max_pass_tokens, options_.prompt - begin);
      const PassCost pass = cost_of_pass(*model_, 1, begin, count, prefill_visits_);
      prompt.flops += pass.flops;
      prompt.bytes += pass.bytes;
    }
    report_.prefill = phase(prefill_, prompt, static_cast<double>(options_.prompt));
    // A step grows with the context; the one in the middle costs the mean.
    const std::int64_t middle = options_.prompt + options_.tokens / 2;
    report_.decode =
        phase(decode_, cost_of_pass(*model_, options_.batch, middle, 1, decode_visits_), batch());
    report_.weight_bytes = model_->weight_bytes();
    report_.cache_bytes = options_.batch * model_->cache_bytes(options_.prompt + options_.tokens);
    return report_;
  }

 private:
  double batch() const { return static_cast<double>(options_.batch); }
  /// Decoding steps; each gives every sequence a token.
  double steps() const { return static_cast<double>(options_.tokens); }
  double passes_of_prompt() const {
    return static_cast<double>((options_.prompt + max_pass_tokens - 1) / max_pass_tokens);
  }

  std::unique_ptr<InferenceModel> open(const fs::path& path) {
    report_.model = path.string();
    std::unique_ptr<InferenceModel> model;
    auto start = Clock::now();
    if (options_.random_weights) {
      Model random = random_model(read_model_spec(path), ctx_.seed);
      start = Clock::now();
      model = inference_of(std::move(random), options_, ctx_);
    } else {
      model = open_for_inference(resolve_model(path, ModelParts::all, ctx_), options_, ctx_);
    }
    report_.load_s = seconds_since(start);
    report_.weights = model->weights_name();
    const std::int64_t needed = options_.prompt + options_.tokens;
    if (needed > model->spec().context) {
      throw UsageError(
          fmt::format("--prompt {} and --new {} are {} tokens, the context of {} is {}",
                      options_.prompt, options_.tokens, needed, path.string(),
                      model->spec().context),
          "ask for fewer");
    }
    require_memory(options_.batch * model->cache_bytes(needed), "keys and values",
                   "use a smaller --batch, --prompt or --new", model->memory_for_caches());
    return model;
  }

  std::vector<std::int32_t> prompt(std::uint64_t stream, std::int64_t tokens) const {
    return random_ids(ctx_.seed, stream, tokens, model_->spec().vocab);
  }

  /// Compares the scores of a few tokens with those of the scalar kernels.
  void check() {
    // Sums of another order round some quantised activations differently in every layer. On a GPU
    // the activations between layers are bf16 too.
    const double tolerance = report_.weights == "f32" ? 1e-4 : on_cpu(ctx_) ? 0.05 : 0.1;
    const std::vector<std::int32_t> ids = prompt(99, 3);
    const std::vector<float> expected = model_->reference_scores(ids);
    const auto cache = model_->make_cache();
    const SequencePart part{cache.get(), ids, Scores::last};
    const std::span<const float> scores = model_->run({&part, 1});
    double off = 0, all = 0;
    for (std::size_t i = 0; i < scores.size(); ++i) {
      off += std::pow(scores[i] - expected[i], 2);
      all += std::pow(expected[i], 2);
    }
    report_.reference_error = std::sqrt(off / all);
    if (!(report_.reference_error < tolerance)) {
      fail("{}: these kernels are {:.3g} off the scalar ones", report_.model,
           report_.reference_error);
    }
  }

  /// Prefill of one prompt after the other, then decoding steps with the most probable token of
  /// each sequence. Records the routing where a recorder is given.
  void run(Stopwatch* watch, RoutingRecorder* prefill_routing, RoutingRecorder* decode_routing) {
    std::vector<std::unique_ptr<SequenceCache>> caches;
    std::vector<std::int32_t> next;
    for (std::int64_t b = 0; b < options_.batch; ++b) {
      caches.push_back(model_->make_cache());
      const std::vector<std::int32_t> ids = prompt(static_cast<std::uint64_t>(b), options_.prompt);
      if (watch != nullptr) watch->start();
      next.push_back(read_prompt(*caches.back(), ids, prefill_routing));
      if (watch != nullptr) watch->stop(static_cast<double>(ids.size()), prefill_);
    }
    const auto vocab = static_cast<std::size_t>(model_->spec().vocab);
    std::vector<SequencePart> parts;
    for (std::size_t b = 0; b < caches.size(); ++b) {
      parts.push_back({caches[b].get(), {&next[b], 1}, Scores::last});
    }
    for (std::int64_t done = 0; done < options_.tokens;) {
      const std::int64_t count = std::min(tokens_per_interval, options_.tokens - done);
      if (watch != nullptr) watch->start();
      for (std::int64_t step = 0; step < count; ++step) {
        const std::span<const float> scores = model_->run(parts, decode_routing);
        for (std::size_t b = 0; b < next.size(); ++b) {
          next[b] = most_probable(scores.subspan(b * vocab, vocab));
        }
        ctx_.check_interrupt();
      }
      if (watch != nullptr) watch->stop(batch() * static_cast<double>(count), decode_);
      done += count;
    }
  }

  /// Prefills in passes of at most `max_pass_tokens`; gives the most probable next token.
  std::int32_t read_prompt(SequenceCache& cache, std::span<const std::int32_t> ids,
                           RoutingRecorder* routing) {
    for (;;) {
      const auto count = std::min(ids.size(), static_cast<std::size_t>(max_pass_tokens));
      const bool last = count == ids.size();
      const SequencePart part{&cache, ids.first(count), last ? Scores::last : Scores::none};
      const std::span<const float> scores = model_->run({&part, 1}, routing);
      ctx_.check_interrupt();
      if (last) return most_probable(scores);
      ids = ids.subspan(count);
    }
  }

  /// Operations/s of the dot product that computes with the weights.
  double peak_of(const Limits& limits) const {
    if (report_.weights == "f32") return limits.f32_gflops;
    const bool bytes =
        report_.weights != "bf16" && on_cpu(ctx_);  // on a GPU they are unpacked to bf16
    return bytes ? limits.int8_gops : limits.bf16_gflops;
  }

  static constexpr std::int64_t max_pass_tokens = 512;  ///< of a prompt
  static constexpr std::int64_t tokens_per_interval =
      8;  ///< of each sequence, between two samples of limits

  const BenchOptions& options_;
  const Context& ctx_;
  ModelReport report_;
  std::unique_ptr<InferenceModel> model_;
  std::vector<Stretch> prefill_, decode_;
  double prefill_visits_ = 0, decode_visits_ = 0;
};

GenerationSubject::GenerationSubject(const fs::path& path, const BenchOptions& options,
                                     const Context& ctx)
    : impl_(std::make_unique<Impl>(path, options, ctx)) {}
GenerationSubject::~GenerationSubject() = default;

void GenerationSubject::measure(Stopwatch& watch) {
  impl_->measure(watch);
}

ModelReport GenerationSubject::report() {
  return impl_->report();
}

}  // namespace moebius
