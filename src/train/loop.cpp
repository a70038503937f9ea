#include "train/loop.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>
#include <numeric>

#include "base/clock.h"
#include "base/error.h"
#include "base/progress.h"
#include "base/staged.h"
#include "checkpoint/writer.h"
#include "moe/balance.h"

namespace moebius {
namespace {

bool is_router(const std::string& slot) {
  return slot.find(".moe.router.") != std::string::npos;
}

bool selected(const std::string& slot, const std::string& train) {
  if (train == "all") return true;
  if (train == "router") return is_router(slot);
  if (train == "experts") return slot.find(".moe.experts.") != std::string::npos;
  return matches(train, slot);
}

double router_gradient_norm(const std::vector<Parameter>& parameters) {
  double squares = 0;
  for (const Parameter& p : parameters) {
    if (!is_router(p.name) || !p.value.grad().defined()) continue;
    squares += p.value.grad().square().sum(at::kDouble).item<double>();
  }
  return std::sqrt(squares);
}

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

/// Keeps the rows of steps up to `step`: what a killed run wrote after its last checkpoint goes.
void cut_metrics(const fs::path& file, std::int64_t step) {
  std::string kept;
  if (step > 0 && fs::exists(file)) {
    const std::string content = read_file(file);
    for (std::size_t at = 0; at < content.size();) {
      const std::size_t end = content.find('\n', at);
      if (end == std::string::npos) break;
      const Json row = Json::parse(content.substr(at, end - at), nullptr, false);
      if (row.is_object() && row.value("step", step + 1) <= step) {
        kept += content.substr(at, end + 1 - at);
      }
      at = end + 1;
    }
  }
  write_file_atomically(file, kept);
}

/// One step: gradients of all its batches, the update, the row of metrics.
class Stepper {
 public:
  Stepper(const Model& model, Objective& objective, const LoopOptions& options, AdamW& optimizer)
      : model_(model), objective_(objective), options_(options), optimizer_(optimizer) {}

  Json step(TrainState& state) {
    double loss = 0, balance = 0;
    std::vector<Routing> routings;
    for (std::int64_t a = 0; a < options_.accumulate; ++a) {
      BatchLoss batch = objective_.next(model_);
      (batch.total / static_cast<double>(options_.accumulate)).backward();
      loss += batch.loss / static_cast<double>(options_.accumulate);
      balance += batch.balance / static_cast<double>(options_.accumulate);
      state.tokens += batch.tokens;
      if (a + 1 == options_.accumulate) routings = std::move(batch.routings);
    }
    const double lr = options_.optimizer.lr_at(state.step, options_.steps);
    const double router_norm = router_gradient_norm(optimizer_.parameters());
    const double norm = optimizer_.step(lr);
    if (!std::isfinite(norm)) fail("step {}: the gradient is not finite", state.step + 1);
    ++state.step;
    state.data_position = objective_.position();
    Json row{{"step", state.step},
             {"tokens", state.tokens},
             {"loss", loss},
             {"lr", lr},
             {"grad_norm", norm}};
    if (!routings.empty()) {
      const RouterHealth health = router_health(routings);
      row["balance_loss"] = balance;
      row["router_entropy"] = health.entropy;
      row["max_violation"] = health.max_violation;
      row["dead_experts"] = health.dead_experts;
      row["expert_distance"] = mean_expert_distance(model_.weights);
      row["router_grad_norm"] = router_norm;
    }
    return row;
  }

 private:
  const Model& model_;
  Objective& objective_;
  const LoopOptions& options_;
  AdamW& optimizer_;
};

}  // namespace

double OptimizerOptions::lr_at(std::int64_t step, std::int64_t steps) const {
  if (step < warmup) return lr * static_cast<double>(step + 1) / static_cast<double>(warmup);
  const double length = static_cast<double>(std::max<std::int64_t>(1, steps - warmup));
  const double progress = std::min(1.0, static_cast<double>(step - warmup) / length);
  const double cosine = 0.5 * (1.0 + std::cos(std::numbers::pi * progress));
  return lr * (min_lr_ratio + (1.0 - min_lr_ratio) * cosine);
}

std::vector<Parameter> select_parameters(Weights& weights, const std::string& train) {
  std::vector<Parameter> chosen;
  for_each_weight(
      [&](const std::string& slot, at::Tensor& weight) {
        if (!weight.defined()) return;
        const bool train_it = selected(slot, train) && !is_buffer(slot);
        weight.requires_grad_(train_it);
        const bool decay = !slot.ends_with(".bias") && !slot.ends_with(".scale") &&
                           slot.find("norm") == std::string::npos;
        if (train_it) chosen.push_back({slot, weight, decay});
      },
      weights);
  if (chosen.empty()) {
    throw Error(fmt::format("--train {}: no weight of this model matches", train),
                "all, router, experts, or a pattern such as layers.0.*");
  }
  return chosen;
}

Trainee::Trainee(Model& model, const std::string& train, const std::string& precision)
    : computed(model) {
  if (precision != "mixed") {
    parameters = select_parameters(computed.weights, train);
    return;
  }
  const at::Device device = model.weights.embed.plain().device();
  computed.weights = copy_weights(model.weights, at::kBFloat16, device);
  parameters = select_parameters(computed.weights, train);
  auto next = parameters.begin();  // which go as the weights do
  for_each_weight(
      [&](const std::string& slot, at::Tensor& master, at::Tensor&) {
        if (master.defined()) master.requires_grad_(false);
        if (next != parameters.end() && next->name == slot) (next++)->master = master;
      },
      model.weights, computed.weights);
}

void Trainee::refresh(const Model& model) {
  const at::NoGradGuard no_grad;
  for_each_weight(
      [](const std::string&, at::Tensor& copy, const at::Tensor& from) {
        if (copy.defined() && !copy.is_same(from)) copy.copy_(from);
      },
      computed.weights, model.weights);
}

TrainReport run_loop(Model& model, Objective& objective, const LoopOptions& options,
                     const Origin& origin, const Context& ctx) {
  const std::size_t max_shard = parse_size(options.max_shard_size, "--max-shard-size");
  Trainee trainee(model, options.train, options.precision);
  AdamW optimizer(trainee.parameters, options.optimizer);
  TrainState state;
  if (options.resume) {
    if (const auto saved = load_checkpoint(options.out, model, optimizer)) {
      state = *saved;
      objective.seek(state.data_position);
      trainee.refresh(model);
      ctx.log.info("resuming {} after step {}", options.out.string(), state.step);
    } else {
      ctx.log.info("{}: no checkpoint to resume from; starting at step 0", options.out.string());
    }
  }
  const fs::path metrics_file = options.out / "metrics.jsonl";
  cut_metrics(metrics_file, state.step);
  OutputFile metrics(metrics_file, OutputFile::Mode::append);
  const auto save = [&] {
    save_checkpoint(options.out, state, model, origin, optimizer, options.keep, max_shard);
  };

  Stepper stepper(trainee.computed, objective, options, optimizer);
  Progress progress(ctx, "train", static_cast<double>(options.steps), "steps");
  TrainReport report;
  const auto start = Clock::now();
  const double seconds_before = state.seconds;
  const std::int64_t tokens_before = state.tokens;
  std::vector<double> losses;
  auto step_start = start;
  while (state.step < options.steps) {
    const std::int64_t before = state.tokens;
    Json row = stepper.step(state);
    const auto now = Clock::now();
    const double step_seconds = seconds_between(step_start, now);
    step_start = now;
    state.seconds = seconds_before + seconds_between(start, now);
    row["tokens_per_s"] = static_cast<double>(state.tokens - before) / step_seconds;
    row["time"] = state.seconds;
    metrics.append(row.dump() + "\n");
    losses.push_back(row["loss"]);
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
