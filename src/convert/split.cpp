#include "convert/split.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>

#include "base/error.h"
#include "convert/linear_router.h"
#include "convert/partition.h"
#include "convert/router.h"
#include "ops/linear.h"

namespace moebius {
namespace {

at::Tensor pick(const at::Tensor& x, std::int64_t dim, const std::vector<std::int64_t>& which) {
  return x.index_select(dim, at::tensor(which, at::kLong));
}

using Members = std::vector<std::vector<std::int64_t>>;  ///< neurons of each expert

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
    const auto count = static_cast<std::int64_t>(rest_.size());
    if (options_.partition == "random") {
      members_ = members_of(random_partition(count, options_.experts, seed_, stream));
    } else if (options_.partition == "weights") {
      const at::Tensor rows = dense_.gate.defined() ? dense_.gate : dense_.up;
      members_ = members_of(clustered(pick(rows.to(at::kFloat), 0, rest_), stream));
    } else {
      divide_by_activations(stream);
    }
  }

  /// Of three ways to tell which neurons go together, the one that leaves out least of the layer's
  /// output when a linear router chooses: they reach far for the same tokens; what stands before
  /// their activation, which a linear function of the token can follow, goes up and down together;
  /// both, the reach by its root, so that few tokens do not decide.
  void divide_by_activations(const std::string& stream) {
    const at::Tensor before_TF = dense_.gate.defined()
                                     ? ops::linear(x_TD_, dense_.gate, dense_.gate_bias)
                                     : ops::linear(x_TD_, dense_.up, dense_.up_bias);
    const auto over_tokens = [&](const at::Tensor& values_TF) {
      const at::Tensor rows = pick(values_TF - values_TF.mean(0), 1, rest_).t();
      return rows / rows.norm(2, 1, /*keepdim=*/true).clamp_min(1e-12);
    };
    double least = std::numeric_limits<double>::infinity();
    const auto consider = [&](const at::Tensor& rows) {
      Members members = members_of(clustered(rows.contiguous(), stream));
      const double left = left_out(members);
      if (left >= least) return;
      least = left;
      members_ = std::move(members);
    };
    consider(at::cat({over_tokens(before_TF), over_tokens(reach_TF_.sqrt())}, 1));
    if (options_.top_k == options_.experts) return;  // nothing is left out
    consider(over_tokens(before_TF));
    consider(over_tokens(reach_TF_));
  }

  Assignment clustered(const at::Tensor& rows, const std::string& stream) const {
    return cluster(rows, options_.experts, seed_, stream);
  }

  Members members_of(const Assignment& assignment) const {
    Members members(static_cast<std::size_t>(options_.experts));
    for (std::size_t i = 0; i < rest_.size(); ++i) {
      members[static_cast<std::size_t>(assignment[i])].push_back(rest_[i]);
    }
    return members;
  }

  /// Sum of squares of what the experts that are not chosen would add.
  double left_out(const Members& members) const {
    const LinearRouter router = fit_linear_router(x_TD_, expert_norms(members), options_.top_k);
    const at::Tensor scores_TE = at::addmm(router.bias_E, x_TD_, router.weight_ED.t());
    const at::Tensor chosen = std::get<1>(scores_TE.topk(options_.top_k, 1));
    const at::Tensor idle_TE = at::ones_like(scores_TE).scatter(1, chosen, 0);
    at::Tensor idle_TD = at::zeros_like(x_TD_);
    for (std::size_t e = 0; e < members.size(); ++e) {
      const at::Tensor y_TD =
          at::matmul(pick(h_TF_, 1, members[e]), pick(down_DF_, 1, members[e]).t());
      idle_TD.addcmul_(y_TD, idle_TE.narrow(1, static_cast<std::int64_t>(e), 1));
    }
    return idle_TD.square().sum().item<double>();
  }

  static FfnRecipe ffn_of(const std::vector<std::int64_t>& members, std::int64_t width) {
    FfnRecipe ffn;
    for (const std::int64_t n : members) ffn.neurons.push_back(static_cast<std::int32_t>(n));
    ffn.neurons.resize(static_cast<std::size_t>(width), -1);
    ffn.scale.assign(static_cast<std::size_t>(width), 1.0F);
    return ffn;
  }

  /// Norm of what each expert adds, [T, E].
  at::Tensor expert_norms(const Members& of) const {
    std::vector<at::Tensor> norms;
    for (const auto& members : of) {
      const at::Tensor y_TD = at::matmul(pick(h_TF_, 1, members), pick(down_DF_, 1, members).t());
      norms.push_back(y_TD.norm(2, 1));
    }
    return at::stack(norms, 1);
  }

  void make_router(LayerRecipe& recipe) const {
    if (options_.router == "neurons") return choose_representatives(recipe);
    if (options_.router != "linear") {
      recipe.router["weight"] = rows_;
      return;
    }
    const LinearRouter router = fit_linear_router(x_TD_, expert_norms(members_), options_.top_k);
    recipe.moe.router_bias = true;
    recipe.router["weight"] = values_of(router.weight_ED);
    recipe.router["bias"] = values_of(router.bias_E);
  }

  /// Of each expert the neuron whose reach goes most with the expert's norm.
  void choose_representatives(LayerRecipe& recipe) const {
    const at::Tensor norms = expert_norms(members_);
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
  Members members_;
};

}  // namespace

LayerRecipe split_layer(const FfnTrace& trace, const LayerOptions& options,
                        const std::vector<float>& rows, std::uint64_t seed) {
  return Splitter(trace, options, rows, seed).run();
}

}  // namespace moebius
