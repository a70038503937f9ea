#include "convert/split.h"

#include <ATen/ATen.h>

#include <numeric>

#include "base/support.h"
#include "model/random_model.h"

namespace moebius {
namespace {

using support::error_of;
using support::mentions;
using support::normal_tensor;

constexpr std::int64_t width = 11, d = 8, tokens = 40;

/// A dense FFN and what it does on random tokens.
class Split : public ::testing::Test {
 protected:
  Split() {
    dense_.gate = normal_tensor({width, d}, 1, 0.3);
    dense_.up = normal_tensor({width, d}, 2, 0.3);
    dense_.down = normal_tensor({d, width}, 3, 0.3);
    trace_.layer = 4;
    trace_.dense = &dense_;
    trace_.x_TD = normal_tensor({tokens, d}, 4);
    trace_.h_TF = at::silu(trace_.x_TD.matmul(dense_.gate.plain().t())) *
                  trace_.x_TD.matmul(dense_.up.plain().t());
  }
  LayerRecipe run() { return split_layer(trace_, options_, rows_, 5); }

  /// How often each neuron stands in the experts and the shared part.
  static std::vector<int> uses(const LayerRecipe& recipe) {
    std::vector<int> uses(width);
    const auto count = [&](const FfnRecipe& ffn) {
      for (const std::int32_t n : ffn.neurons) {
        if (n >= 0) ++uses[static_cast<std::size_t>(n)];
      }
    };
    for (const FfnRecipe& expert : recipe.experts) count(expert);
    if (recipe.shared) count(*recipe.shared);
    return uses;
  }

  Ffn dense_;
  FfnTrace trace_{};
  LayerOptions options_{
      .method = ConversionMethod::split, .experts = 3, .top_k = 2, .router = RouterStart::linear};
  std::vector<float> rows_;
};

TEST_F(Split, EveryNeuronStandsInOneExpertWhateverThePartition) {
  for (const NeuronPartition partition :
       {NeuronPartition::random, NeuronPartition::weights, NeuronPartition::activations}) {
    options_.partition = partition;
    const LayerRecipe recipe = run();
    EXPECT_EQ(recipe.moe.width, 4) << name_of(partition);  // 4 + 4 + 3 neurons
    EXPECT_EQ(uses(recipe), std::vector<int>(width, 1)) << name_of(partition);
    for (const FfnRecipe& expert : recipe.experts) {
      EXPECT_EQ(expert.neurons.size(), 4u);
      EXPECT_LE(std::count(expert.neurons.begin(), expert.neurons.end(), -1), 1);
      EXPECT_EQ(expert.scale, std::vector<float>(4, 1.0F));
    }
  }
}

TEST_F(Split, TheExpertsTogetherAreTheDenseFfn) {
  const LayerRecipe recipe = run();
  at::Tensor sum = at::zeros({tokens, d});
  for (const FfnRecipe& expert : recipe.experts) {
    for (const std::int32_t n : expert.neurons) {
      if (n >= 0) sum += at::outer(trace_.h_TF.select(1, n), dense_.down.plain().select(1, n));
    }
  }
  const at::Tensor dense = trace_.h_TF.matmul(dense_.down.plain().t());
  EXPECT_LT((sum - dense).abs().max().item<float>(), 1e-5);
  EXPECT_EQ(recipe.moe.weights, RouterWeights::one_plus);
}

TEST_F(Split, SharedNeuronsAreThoseOfTheLargestContribution) {
  options_.shared = 1;  // of 4 widths: 11 / 4 neurons
  const LayerRecipe recipe = run();
  ASSERT_TRUE(recipe.shared);
  EXPECT_EQ(recipe.moe.shared_width, 2);
  EXPECT_EQ(uses(recipe), std::vector<int>(width, 1));
  const at::Tensor reach = (trace_.h_TF.abs() * dense_.down.plain().norm(2, 0)).mean(0);
  std::vector<std::int32_t> order(width);
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
    return reach[a].item<float>() > reach[b].item<float>();
  });
  std::vector<std::int32_t> largest{order[0], order[1]};
  std::sort(largest.begin(), largest.end());
  EXPECT_EQ(recipe.shared->neurons, largest);
}

TEST_F(Split, RoutersAreWhatWasAskedFor) {
  EXPECT_EQ(run().router.at("weight").size(), static_cast<std::size_t>(3 * d));
  EXPECT_EQ(run().router.at("bias").size(), 3u);
  options_.router = RouterStart::random;
  rows_.assign(3 * d, 0.25F);
  EXPECT_EQ(run().router.at("weight"), rows_);
  EXPECT_FALSE(run().router.contains("bias"));
  options_.router = RouterStart::neurons;
  const LayerRecipe recipe = run();
  EXPECT_EQ(recipe.moe.scores, RouterScores::neurons);
  for (std::size_t e = 0; e < 3; ++e) {  // each row is the gate of one of the expert's neurons
    bool found = false;
    for (const std::int32_t n : recipe.experts[e].neurons) {
      if (n < 0) continue;
      const at::Tensor gate = dense_.gate.plain().select(0, n).contiguous();
      found |= std::equal(gate.const_data_ptr<float>(), gate.const_data_ptr<float>() + d,
                          recipe.router.at("weight").begin() + static_cast<std::ptrdiff_t>(e) * d);
    }
    EXPECT_TRUE(found) << e;
  }
}

TEST_F(Split, TheSameSeedGivesTheSameRecipe) {
  for (const NeuronPartition partition : {NeuronPartition::random, NeuronPartition::activations}) {
    options_.partition = partition;
    const LayerRecipe a = run(), b = run();
    for (std::size_t e = 0; e < 3; ++e) EXPECT_EQ(a.experts[e].neurons, b.experts[e].neurons);
    EXPECT_EQ(a.router, b.router);
  }
}

TEST_F(Split, MoreExpertsThanNeuronsAreRefused) {
  options_.experts = 11;
  options_.shared = 1;
  EXPECT_TRUE(mentions(error_of([&] { run(); }), {"--experts 11", "width of 11 in layer 4"}));
}

}  // namespace
}  // namespace moebius
