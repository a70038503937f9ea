#include "benchmark/training.h"

#include <ATen/ATen.h>

#include "benchmark/cost.h"
#include "benchmark/random_model.h"
#include "config/families.h"
#include "hub/resolve.h"
#include "model/device.h"
#include "model/load.h"
#include "train/adamw.h"
#include "train/gradients.h"
#include "train/language_model.h"
#include "train/trainable_model.h"

namespace moebius {
namespace {

Model open(const fs::path& path, const BenchOptions& options, const Context& ctx) {
  const fs::path directory =
      options.random_weights ? path : resolve_model(path, ModelParts::all, ctx);
  Model model;
  if (options.random_weights) {
    model.spec = read_model_spec(directory);
  } else {
    model = load_model(directory, DType::f32, at::kCPU, ctx.log);
  }
  if (options.prompt > model.spec.context) {
    throw UsageError(fmt::format("--prompt {}: the context of {} is {}", options.prompt,
                                 path.string(), model.spec.context),
                     "ask for fewer");
  }
  if (options.random_weights) model.weights = init_weights(model.spec, ctx.seed);
  const auto dtype = options.precision == Precision::bf16 ? at::kBFloat16 : at::kFloat;
  model.weights = copy_weights(model.weights, dtype, device_of(ctx));
  return model;
}

/// What a step of AdamW reads and writes of a parameter: the gradient for its norm and again for
/// the update, value and means there and back.
double optimizer_bytes_of(const Parameter& p) {
  const auto values = static_cast<double>(p.value.numel());
  const auto size = static_cast<double>(p.value.element_size());
  const double means = p.master.defined() ? 4 : size;
  const double master = p.master.defined() ? 2 * 4 + size : 2 * size;
  return values * (2 * size + master + 2 * 2 * means);
}

}  // namespace

struct TrainingSubject::State {
  const BenchOptions& options;
  const Context& ctx;
  TrainingReport report;
  Model model;
  TrainableModel trained;
  AdamW optimizer;
  std::vector<Stretch> stretches;
  std::uint64_t steps = 0;

  State(const fs::path& path, const BenchOptions& of, const Context& context)
      : options(of),
        ctx(context),
        model(open(path, of, context)),
        trained(model, "all", {}, of.precision),
        optimizer(trained.parameters, AdamWOptions{}) {
    report.model = path.string();
    report.precision = of.precision;
  }

  double step() {
    const std::vector<std::int32_t> ids =
        random_ids(ctx.seed, steps++, options.batch * (options.prompt + 1), model.spec.vocab);
    TokenBatch batch;
    const auto window = static_cast<std::size_t>(options.prompt + 1);
    for (std::size_t at = 0; at < ids.size(); at += window) {
      batch.add_next_token(std::span(ids).subspan(at, window));
    }
    Metrics metrics;
    language_model_loss(trained.computed, batch, {.coefficient = model.spec.balance_coefficient},
                        metrics)
        .backward();
    optimizer.step(1e-4, clip_scale(gradient_norm(optimizer.parameters()), 1.0));
    ctx.check_interrupt();
    return metrics.value("loss");
  }
};

TrainingSubject::TrainingSubject(const fs::path& path, const BenchOptions& options,
                                 const Context& ctx)
    : state_(std::make_unique<State>(path, options, ctx)) {
  state_->report.first_loss = state_->step();
}
TrainingSubject::~TrainingSubject() = default;

void TrainingSubject::measure(Stopwatch& watch) {
  watch.start();
  state_->report.last_loss = state_->step();
  watch.stop(static_cast<double>(state_->options.batch * state_->options.prompt),
             state_->stretches);
}

TrainingReport TrainingSubject::report() {
  TrainingReport& out = state_->report;
  const std::int64_t batch = state_->options.batch, length = state_->options.prompt;
  const auto tokens = static_cast<double>(batch * length);
  out.flops = 3 *
              flops_of_pass(state_->model.spec, state_->trained.computed.weights, batch, 0, length,
                            batch * length) /
              tokens;
  for (const Parameter& p : state_->trained.parameters) {
    out.optimizer_bytes += optimizer_bytes_of(p);
    out.weight_bytes += static_cast<std::int64_t>(p.value.nbytes());
  }
  std::vector<double> rates, shares;
  for (const Stretch& s : state_->stretches) {
    const double peak =
        out.precision == Precision::f32 ? s.limits.f32_gflops : s.limits.bf16_gflops;
    const double least =
        out.flops * tokens / 1e9 / peak + out.optimizer_bytes / 1e9 / s.limits.read_gbps;
    rates.push_back(s.tokens / s.seconds);
    shares.push_back(least / s.seconds);
  }
  out.tokens_per_s = figure_of(rates);
  out.gflops = out.tokens_per_s.median * out.flops / 1e9;
  out.share = figure_of(shares).median;
  return out;
}

}  // namespace moebius
