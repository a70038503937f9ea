#include "convert/split.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "base/error.h"
#include "convert/partition.h"
#include "convert/router.h"

namespace moebius {
namespace {

at::Tensor pick(const at::Tensor& x, std::int64_t dim, const std::vector<std::int64_t>& which) {
  return x.index_select(dim, at::tensor(which, at::kLong));
}

/// One layer on its way from a dense FFN to experts.
class Splitter {
 public:
  Splitter(const FfnTrace& trace, const LayerOptions& options, const std::vector<float>& rows,
           std::uint64_t seed)
      : layer_(trace.layer),
        x_TD_(trace.x_TD),
        dense_(*trace.dense),
        options_(options),
        rows_(rows),
        seed_(seed),
        down_DF_(dense_.down.to(at::kFloat)),
        h_TF_(trace.h_TF),
        reach_TF_(h_TF_.abs() * down_DF_.norm(2, 0)),
        neurons_(dense_.down.size(1)) {}

  LayerRecipe run() {
    const std::int64_t experts = options_.experts, shared = options_.shared;
    if (neurons_ < experts + shared) {
      fail("--experts {} and --shared {} of a width of {} in layer {}", experts, shared, neurons_,
           layer_);
    }
    choose_hot(neurons_ * shared / (experts + shared));
    divide();
    LayerRecipe recipe;
    recipe.moe.experts = recipe.moe.groups = experts;
    recipe.moe.top_k = options_.top_k;
    for (const auto& members : members_) {
      recipe.moe.width = std::max(recipe.moe.width, static_cast<std::int64_t>(members.size()));
    }
    recipe.moe.shared_width = static_cast<std::int64_t>(hot_.size());
    recipe.moe.weights = RouterWeights::one_plus;
    recipe.moe.bias_once = dense_.down_bias.defined();
    for (std::size_t e = 0; e < members_.size(); ++e) {
      recipe.experts.push_back(ffn_of(members_[e], recipe.moe.width));
    }
    if (!hot_.empty()) recipe.shared = ffn_of(hot_, recipe.moe.shared_width);
    make_router(recipe);
    return recipe;
  }

 private:
  /// The neurons that reach furthest on average are shared; the rest is to be divided.
  void choose_hot(std::int64_t count) {
    const at::Tensor order =
        at::argsort(reach_TF_.mean(0), /*stable=*/true, 0, /*descending=*/true).contiguous();
    const auto* at = order.const_data_ptr<std::int64_t>();
    hot_.assign(at, at + count);
    rest_.assign(at + count, at + neurons_);
    std::sort(hot_.begin(), hot_.end());
    std::sort(rest_.begin(), rest_.end());
  }

  void divide() {
    const std::string stream = fmt::format("split {}", layer_);
    const Assignment assignment = assign(stream);
    members_.assign(static_cast<std::size_t>(options_.experts), {});
    for (std::size_t i = 0; i < rest_.size(); ++i) {
      members_[static_cast<std::size_t>(assignment[i])].push_back(rest_[i]);
    }
  }

  Assignment assign(const std::string& stream) const {
    if (options_.partition == "random") {
      return random_partition(static_cast<std::int64_t>(rest_.size()), options_.experts, seed_,
                              stream);
    }
    if (options_.partition == "weights") {
      const at::Tensor rows = dense_.gate.defined() ? dense_.gate : dense_.up;
      return cluster(pick(rows.to(at::kFloat), 0, rest_), options_.experts, seed_, stream);
    }
    // Neurons that reach far for the same tokens, measured from what each does on average.
    const at::Tensor centred = reach_TF_ - reach_TF_.mean(0, /*keepdim=*/true);
    return cluster(pick(centred, 1, rest_).t().contiguous(), options_.experts, seed_, stream);
  }

  static FfnRecipe ffn_of(const std::vector<std::int64_t>& members, std::int64_t width) {
    FfnRecipe ffn;
    for (const std::int64_t n : members) ffn.neurons.push_back(static_cast<std::int32_t>(n));
    ffn.neurons.resize(static_cast<std::size_t>(width), -1);
    ffn.scale.assign(static_cast<std::size_t>(width), 1.0F);
    return ffn;
  }

  /// Norm of what each expert adds, [T, E].
  at::Tensor expert_norms() const {
    std::vector<at::Tensor> norms;
    for (const auto& members : members_) {
      const at::Tensor y_TD = at::matmul(pick(h_TF_, 1, members), pick(down_DF_, 1, members).t());
      norms.push_back(y_TD.norm(2, 1));
    }
    return at::stack(norms, 1);
  }

  void make_router(LayerRecipe& recipe) const {
    if (options_.router == "linear") return fit_linear(recipe);
    if (options_.router == "neurons") return choose_representatives(recipe);
    recipe.router["weight"] = rows_;
  }

  /// Ridge regression of the experts' norms on the inputs, in f64.
  void fit_linear(LayerRecipe& recipe) const {
    constexpr double ridge = 1e-2;  // times the mean variance of the inputs
    const at::Tensor x = x_TD_.to(at::kDouble), y = expert_norms().to(at::kDouble);
    const at::Tensor x_mean = x.mean(0, true), y_mean = y.mean(0, true);
    const at::Tensor xc = x - x_mean;
    at::Tensor covariance = at::matmul(xc.t(), xc);
    covariance.diagonal().add_(ridge * covariance.diagonal().mean().item<double>() + 1e-12);
    const at::Tensor w_DE = at::linalg_solve(covariance, at::matmul(xc.t(), y - y_mean));
    // In units of what the layer's experts differ by, so that a softmax is neither flat nor hard.
    const double unit = std::max(1e-12, (y - y.mean(1, true)).std().item<double>());
    recipe.moe.router_bias = true;
    recipe.router["weight"] = values_of(w_DE.t() / unit);
    recipe.router["bias"] = values_of((y_mean - at::matmul(x_mean, w_DE)).squeeze(0) / unit);
  }

  /// Of each expert the neuron whose reach goes most with the expert's norm.
  void choose_representatives(LayerRecipe& recipe) const {
    const at::Tensor norms = expert_norms();
    const auto centred = [](const at::Tensor& t) { return t - t.mean(0, /*keepdim=*/true); };
    std::vector<std::int64_t> chosen;
    std::vector<double> factors;
    for (std::size_t e = 0; e < members_.size(); ++e) {
      const at::Tensor y = norms.select(1, static_cast<std::int64_t>(e));
      const at::Tensor reach = pick(reach_TF_, 1, members_[e]), z = centred(reach);
      const at::Tensor fit = at::mv(z.t(), centred(y)) / z.norm(2, 0).clamp_min(1e-12);
      const auto best = fit.argmax().item<std::int64_t>();
      chosen.push_back(members_[e][static_cast<std::size_t>(best)]);
      const at::Tensor answer = pick(h_TF_, 1, {chosen.back()}).abs().squeeze(1);
      factors.push_back(at::dot(answer, y).item<double>() /
                        std::max(1e-12, at::dot(answer, answer).item<double>()));
    }
    recipe.moe.scores = RouterScores::neurons;
    const auto rows = [&](const at::Tensor& t, bool scaled) {
      at::Tensor picked = pick(t.to(at::kFloat), 0, chosen);
      if (!scaled) return values_of(picked);
      const at::Tensor factor = at::tensor(factors, at::kFloat);
      return values_of(picked.dim() == 2 ? picked * factor.unsqueeze(1) : picked * factor);
    };
    // |act(g x) (f u x)| is f |act(g x) (u x)|; without a gate the activation stands in between.
    const bool gated = dense_.gate.defined();
    recipe.router["weight"] = rows(gated ? dense_.gate : dense_.up, false);
    if (gated) recipe.router["up.weight"] = rows(dense_.up, true);
    if (!dense_.up_bias.defined()) return;
    recipe.router["bias"] = rows(gated ? dense_.gate_bias : dense_.up_bias, false);
    if (gated) recipe.router["up.bias"] = rows(dense_.up_bias, true);
  }

  std::int64_t layer_;
  const at::Tensor& x_TD_;
  const Ffn& dense_;
  const LayerOptions& options_;
  const std::vector<float>& rows_;
  std::uint64_t seed_;
  at::Tensor down_DF_, h_TF_, reach_TF_;
  std::int64_t neurons_;
  std::vector<std::int64_t> hot_, rest_;
  std::vector<std::vector<std::int64_t>> members_;
};

}  // namespace

LayerRecipe split_layer(const FfnTrace& trace, const LayerOptions& options,
                        const std::vector<float>& rows, std::uint64_t seed) {
  return Splitter(trace, options, rows, seed).run();
}

}  // namespace moebius
