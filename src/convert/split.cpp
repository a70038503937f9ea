#include "convert/split.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <optional>

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

struct Division {
  Members members;
  at::Tensor norms_TE;  ///< norm of each expert's output, if a router needs it
  LinearRouter router;  ///< if it is linear
};

/// Splits one layer.
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
        down_DF_(dense_.down.plain().to(at::kFloat)),
        h_TF_(trace.h_TF),
        reach_TF_(h_TF_.abs() * down_DF_.norm(2, 0)),
        neurons_(dense_.down.plain().size(1)),
        before_(dense_.gate.defined() ? dense_.gate : dense_.up),
        before_bias_(dense_.gate.defined() ? dense_.gate_bias : dense_.up_bias) {
    if (options_.router == RouterStart::linear || compares_divisions()) linear_.emplace(x_TD_);
  }

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
    const Members& members = division_.members;
    for (const auto& expert : members) {
      recipe.moe.width = std::max(recipe.moe.width, static_cast<std::int64_t>(expert.size()));
    }
    recipe.moe.shared_width = static_cast<std::int64_t>(hot_.size());
    recipe.moe.weights = RouterWeights::one_plus;
    recipe.moe.bias_once = dense_.down_bias.defined();
    for (const auto& expert : members) recipe.experts.push_back(ffn_of(expert, recipe.moe.width));
    if (!hot_.empty()) recipe.shared = ffn_of(hot_, recipe.moe.shared_width);
    make_router(recipe);
    return recipe;
  }

 private:
  /// Not if all experts are chosen: no division then loses output.
  bool compares_divisions() const {
    return options_.partition == NeuronPartition::activations && options_.top_k < options_.experts;
  }

  /// The neurons with the largest mean contribution are shared; the rest is divided.
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
    if (options_.partition == NeuronPartition::random) {
      division_ = division_of(random_partition(count, options_.experts, seed_, stream));
    } else if (options_.partition == NeuronPartition::weights) {
      division_ = clustered(pick(before_.to(at::kFloat), 0, rest_), stream);
    } else {
      divide_by_activations(stream);
    }
  }

  /// Clusters by three kinds of features and keeps the division that loses least of the layer's
  /// output with a linear router: contributions; pre-activations, which a linear function of the
  /// token can predict; both, with the square root of contributions to limit outliers.
  void divide_by_activations(const std::string& stream) {
    const at::Tensor before_TF = ops::linear(x_TD_, before_, before_bias_);
    const auto over_tokens = [&](const at::Tensor& values_TF) {
      const at::Tensor rows = pick(values_TF - values_TF.mean(0), 1, rest_).t();
      return rows / rows.norm(2, 1, /*keepdim=*/true).clamp_min(1e-12);
    };
    division_ =
        clustered(at::cat({over_tokens(before_TF), over_tokens(reach_TF_.sqrt())}, 1), stream);
    if (!compares_divisions()) return;
    double least = left_out(division_);
    for (const at::Tensor& values_TF : {before_TF, reach_TF_}) {
      Division other = clustered(over_tokens(values_TF), stream);
      const double left = left_out(other);
      if (left >= least) continue;
      least = left;
      division_ = std::move(other);
    }
  }

  Division clustered(const at::Tensor& rows, const std::string& stream) const {
    return division_of(cluster(rows.contiguous(), options_.experts, seed_, stream));
  }

  Division division_of(const Assignment& assignment) const {
    Division division;
    division.members.resize(static_cast<std::size_t>(options_.experts));
    for (std::size_t i = 0; i < rest_.size(); ++i) {
      division.members[static_cast<std::size_t>(assignment[i])].push_back(rest_[i]);
    }
    if (!linear_ && options_.router != RouterStart::neurons) return division;
    std::vector<at::Tensor> norms;
    for (const auto& expert : division.members) norms.push_back(output_of(expert).norm(2, 1));
    division.norms_TE = at::stack(norms, 1);
    if (linear_) division.router = linear_->fit(division.norms_TE, options_.top_k);
    return division;
  }

  /// Output of an expert for each token, [T, D].
  at::Tensor output_of(const std::vector<std::int64_t>& expert) const {
    return at::matmul(pick(h_TF_, 1, expert), pick(down_DF_, 1, expert).t());
  }

  /// Sum of squares of the outputs of experts that the linear router does not choose.
  double left_out(const Division& division) const {
    const LinearRouter& router = division.router;
    const at::Tensor scores_TE = at::addmm(router.bias_E, x_TD_, router.weight_ED.t());
    const at::Tensor chosen = std::get<1>(scores_TE.topk(options_.top_k, 1));
    const at::Tensor idle_TE = at::ones_like(scores_TE).scatter(1, chosen, 0);
    at::Tensor idle_TD = at::zeros_like(x_TD_);
    for (std::size_t e = 0; e < division.members.size(); ++e) {
      idle_TD.addcmul_(output_of(division.members[e]),
                       idle_TE.narrow(1, static_cast<std::int64_t>(e), 1));
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

  void make_router(LayerRecipe& recipe) const {
    if (options_.router == RouterStart::neurons) return choose_representatives(recipe);
    if (options_.router != RouterStart::linear) {
      recipe.router["weight"] = rows_;
      return;
    }
    recipe.moe.router_bias = true;
    recipe.router["weight"] = values_of(division_.router.weight_ED);
    recipe.router["bias"] = values_of(division_.router.bias_E);
  }

  /// The neuron of each expert whose contribution correlates most with the expert's norm.
  void choose_representatives(LayerRecipe& recipe) const {
    const Members& members = division_.members;
    const auto centred = [](const at::Tensor& t) { return t - t.mean(0, /*keepdim=*/true); };
    std::vector<std::int64_t> chosen;
    std::vector<double> factors;
    for (std::size_t e = 0; e < members.size(); ++e) {
      const at::Tensor y = division_.norms_TE.select(1, static_cast<std::int64_t>(e));
      const at::Tensor reach = pick(reach_TF_, 1, members[e]), z = centred(reach);
      const at::Tensor fit = at::mv(z.t(), centred(y)) / z.norm(2, 0).clamp_min(1e-12);
      const auto best = fit.argmax().item<std::int64_t>();
      chosen.push_back(members[e][static_cast<std::size_t>(best)]);
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
    recipe.router["weight"] = rows(before_, false);
    if (gated) recipe.router["up.weight"] = rows(dense_.up, true);
    if (!dense_.up_bias.defined()) return;
    recipe.router["bias"] = rows(before_bias_, false);
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
  at::Tensor before_, before_bias_;  // of the pre-activation
  std::optional<LinearRouterFit> linear_;
  std::vector<std::int64_t> hot_, rest_;
  Division division_;
};

}  // namespace

LayerRecipe split_layer(const FfnTrace& trace, const LayerOptions& options,
                        const std::vector<float>& rows, std::uint64_t seed) {
  return Splitter(trace, options, rows, seed).run();
}

}  // namespace moebius
