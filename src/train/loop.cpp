#include "train/loop.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/clock.h"
#include "base/error.h"
#include "base/progress.h"
#include "base/staged.h"
#include "checkpoint/writer.h"
#include "moe/expert_distance.h"
#include "train/adamw.h"
#include "train/gradients.h"
#include "train/metrics_sink.h"
#include "train/trainable_model.h"

namespace moebius {
namespace {

/// `expert_distance`, mean over the MoE layers.
double mean_expert_distance(const Weights& weights) {
  double sum = 0;
  std::int64_t layers = 0;
  for (const LayerWeights& layer : weights.layers) {
    if (const Moe* moe = layer.moe()) {
      sum += expert_distance(*moe);
      ++layers;
    }
  }
  return layers > 0 ? sum / static_cast<double>(layers) : 0.0;
}

bool has_moe(const ModelSpec& spec) {
  return std::any_of(spec.layers.begin(), spec.layers.end(),
                     [](const LayerSpec& layer) { return layer.moe.has_value(); });
}

/// One step: gradients of all its micro-batches, the update, its figures.
class Stepper {
 public:
  Stepper(TrainableModel& model, Objective& objective, const LoopOptions& options,
          Optimizer& optimizer)
      : model_(model), objective_(objective), options_(options), optimizer_(optimizer) {}

  StepRecord step(TrainState& state) {
    StepRecord record;
    Metrics& metrics = record.metrics;
    record.step_tokens = add_gradients(metrics);
    const double norm = gradient_norm(optimizer_.parameters());
    if (!std::isfinite(norm)) fail("step {}: the gradient is not finite", state.step + 1);
    metrics.add_mean("grad_norm", norm, 1);
    const bool moe = has_moe(model_.computed.spec);
    if (moe) {
      metrics.add_mean("router_grad_norm", gradient_norm(optimizer_.parameters(), is_router), 1);
    }
    record.lr = options_.schedule.lr_at(state.step, options_.steps);
    optimizer_.step(record.lr, clip_scale(norm, options_.clip));
    record.step = ++state.step;
    record.tokens = state.tokens += record.step_tokens;
    objective_.after_step(model_.computed, metrics);
    state.objective = objective_.state();
    record.with_layers =
        record.step == 1 || record.step % options_.log_every == 0 || record.step == options_.steps;
    if (record.with_layers && moe) {
      metrics.add_mean("expert_distance", mean_expert_distance(model_.computed.weights), 1);
    }
    return record;
  }

 private:
  /// Gradients of the mean loss over all micro-batches of a step; returns the tokens computed.
  std::int64_t add_gradients(Metrics& metrics) {
    std::vector<TokenBatch> batches;
    double all = 0;
    for (std::int64_t a = 0; a < options_.accumulate; ++a) {
      batches.push_back(objective_.draw());
      all += objective_.weight(batches.back());
    }
    std::int64_t tokens = 0;
    for (const TokenBatch& batch : batches) {
      const double weight = objective_.weight(batch);
      if (weight == 0) continue;
      (objective_.loss(model_.computed, batch, metrics) / (all / weight)).backward();
      tokens += batch.tokens();
    }
    return tokens;
  }

  TrainableModel& model_;
  Objective& objective_;
  const LoopOptions& options_;
  Optimizer& optimizer_;
};

}  // namespace

TrainReport run_loop(Model& model, Objective& objective, const LoopOptions& options,
                     const Origin& origin, const Context& ctx) {
  const std::size_t max_shard = parse_size(options.max_shard_size, "--max-shard-size");
  TrainableModel trained(model, options.train, options.groups, options.precision);
  AdamW optimizer(trained.parameters, options.adamw);
  TrainState state;
  if (options.resume) {
    if (const auto saved = load_checkpoint(options.out, model, optimizer)) {
      state = *saved;
      objective.restore(state.objective);
      trained.refresh(model);
      ctx.log.info("resuming {} after step {}", options.out.string(), state.step);
    } else {
      ctx.log.info("{}: no checkpoint to resume from; starting at step 0", options.out.string());
    }
  }
  write_file_atomically(options.out / "config.yaml", options.config_echo);
  JsonLinesSink metrics(options.out / "metrics.jsonl", /*every=*/1, state.step);
  const auto save = [&] {
    save_checkpoint(options.out, state, model, origin, optimizer, options.keep, max_shard);
  };

  Stepper stepper(trained, objective, options, optimizer);
  Progress progress(ctx, "train", static_cast<double>(options.steps), "steps");
  TrainReport report;
  const auto start = Clock::now();
  const double seconds_before = state.seconds;
  const std::int64_t tokens_before = state.tokens;
  std::vector<double> losses;
  auto step_start = start;
  while (state.step < options.steps) {
    StepRecord record = stepper.step(state);
    const auto now = Clock::now();
    record.step_seconds = seconds_between(step_start, now);
    step_start = now;
    record.seconds = state.seconds = seconds_before + seconds_between(start, now);
    metrics.add(record);
    losses.push_back(record.metrics.value("loss"));
    progress.update(static_cast<double>(state.step), fmt::format("loss {:.4f}", losses.back()));
    const bool due = options.save_every > 0 && state.step % options.save_every == 0;
    if (const int signal = ctx.interrupted()) {
      save();
      ctx.log.info("stopped after step {}; saved. Go on with the same command and --resume",
                   state.step);
      throw Interrupted(signal);
    }
    if (due || state.step == options.steps) {
      save();
      step_start = Clock::now();
    }
  }
  const auto tenth = static_cast<std::ptrdiff_t>((losses.size() + 9) / 10);
  const auto mean_of = [&](auto begin) {
    return tenth == 0 ? 0 : std::accumulate(begin, begin + tenth, 0.0) / static_cast<double>(tenth);
  };
  report.first_loss = mean_of(losses.begin());
  report.last_loss = mean_of(losses.end() - tenth);
  report.steps = state.step;
  report.tokens = state.tokens;
  report.seconds = state.seconds;
  const double here = seconds_since(start);
  report.tokens_per_s = here > 0 ? static_cast<double>(state.tokens - tokens_before) / here : 0;
  return report;
}

}  // namespace moebius
