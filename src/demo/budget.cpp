#include "demo/budget.h"

#include <fmt/format.h>

#include <algorithm>

#include "config/weights.h"

namespace moebius {
namespace {

/// Bytes of activations kept for the backward pass: about 34 D + 8 F K values per token and layer,
/// and three copies of the logits.
std::int64_t activation_bytes(const ModelSpec& spec, std::int64_t tokens) {
  std::int64_t per_token = 3 * spec.vocab;
  for (const LayerSpec& layer : spec.layers) {
    const std::int64_t width = layer.moe ? layer.moe->width * layer.moe->top_k : layer.width;
    per_token += 34 * spec.d_model + 8 * width;
  }
  return per_token * tokens * 4;
}

}  // namespace

TrainingBudget plan_training(const ModelSpec& spec, std::int64_t tokens_per_batch,
                             double forward_seconds, double seconds, std::int64_t wanted,
                             std::int64_t available) {
  constexpr double backward_factor = 3.0;
  TrainingBudget budget;
  budget.available = available;
  const std::int64_t parameters = model_cost(spec).parameters;
  const std::int64_t activations = activation_bytes(spec, tokens_per_batch);
  const std::int64_t all = 16 * parameters + activations, router = 4 * parameters + activations;
  budget.train = all <= available ? "all" : router <= available ? "router" : "";
  budget.bytes = budget.train == "all" ? all : router;
  const double step_seconds = backward_factor * std::max(forward_seconds, 1e-6);
  budget.steps = std::min(wanted, static_cast<std::int64_t>(seconds / step_seconds));
  const auto gb = [](std::int64_t bytes) { return static_cast<double>(bytes) / 1e9; };
  if (budget.train.empty()) {
    budget.steps = 0;
    budget.reason = fmt::format("even routers alone need {:.1f} GB, {:.1f} GB are free", gb(router),
                                gb(available));
  } else if (budget.train == "router") {
    budget.reason = fmt::format("routers alone: everything needs {:.1f} GB, {:.1f} GB are free",
                                gb(all), gb(available));
  }
  if (budget.steps < wanted && !budget.train.empty()) {
    budget.reason += fmt::format("{}{} steps: one takes about {:.1f} s",
                                 budget.reason.empty() ? "" : "; ", budget.steps, step_seconds);
  }
  return budget;
}

}  // namespace moebius
