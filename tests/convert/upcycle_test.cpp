#include "convert/upcycle.h"

#include <numeric>

#include "convert/written_source.h"

namespace moebius {
namespace {

using examples::llama_like;
using support::error_of;
using support::mentions;
using support::WrittenSources;

constexpr std::int64_t width = 6, d = 8;  // of examples::llama_like

std::vector<float> some_rows(std::int64_t experts) {
  std::vector<float> rows(static_cast<std::size_t>(experts * d));
  std::iota(rows.begin(), rows.end(), 1.0F);
  return rows;
}

std::vector<std::int32_t> range(std::int32_t begin, std::int32_t end) {
  std::vector<std::int32_t> list(static_cast<std::size_t>(end - begin));
  std::iota(list.begin(), list.end(), begin);
  return list;
}

class Upcycle : public ::testing::Test {
 protected:
  LayerRecipe run(DType written = DType::f32) {
    return upcycle_layer(written_.sources, 1, options_, some_rows(options_.experts), written);
  }
  WrittenSources written_{llama_like("llama"), ExpertLayout::usual};
  LayerOptions options_{.experts = 3, .top_k = 2};
};

TEST_F(Upcycle, ExpertsAreCopiesOfTheDenseFfn) {
  const LayerRecipe recipe = run();
  EXPECT_EQ(recipe.moe, (MoeSpec{.experts = 3, .top_k = 2, .width = width, .groups = 3}));
  EXPECT_EQ(recipe.router.at("weight"), some_rows(3));
  ASSERT_EQ(recipe.experts.size(), 3u);
  for (const FfnRecipe& expert : recipe.experts) {
    for (const char* part : {"gate.weight", "up.weight", "down.weight"}) {
      EXPECT_TRUE(is_copy(expert, part, width)) << part;
    }
  }
  EXPECT_FALSE(recipe.shared);
}

TEST_F(Upcycle, SeveralSourcesTakeTurns) {
  written_.add();
  const LayerRecipe recipe = run();
  for (std::size_t e = 0; e < 3; ++e) EXPECT_EQ(recipe.experts[e].origins[0].source, e % 2);
}

TEST_F(Upcycle, GranularityCutsEachCopyIntoPartsThatAreChosenTogether) {
  options_.granularity = 2;
  const LayerRecipe recipe = run();
  EXPECT_EQ(recipe.moe, (MoeSpec{.experts = 6, .top_k = 4, .width = 3, .groups = 3}));
  for (std::size_t e = 0; e < 6; ++e) {
    EXPECT_EQ(recipe.experts[e].neurons, e % 2 == 0 ? range(0, 3) : range(3, 6));
    EXPECT_EQ(recipe.experts[e].scale, std::vector<float>(3, 2.0F));  // each has half the weight
    for (std::size_t i = 0; i < d; ++i) {
      EXPECT_EQ(recipe.router.at("weight")[e * d + i], some_rows(3)[e / 2 * d + i]);
    }
  }
}

TEST_F(Upcycle, WhatTheSharedPartHoldsComesHalfFromIt) {
  options_.shared = 1;
  const LayerRecipe recipe = run();
  EXPECT_EQ(recipe.moe.shared_width, width);
  ASSERT_TRUE(recipe.shared);
  EXPECT_EQ(recipe.shared->neurons, range(0, 6));
  EXPECT_EQ(recipe.shared->scale, std::vector<float>(6, 0.5F));
  EXPECT_EQ(recipe.experts[2].scale, std::vector<float>(6, 0.5F));
  EXPECT_EQ(recipe.shared->bias_scale + recipe.experts[0].bias_scale, 1.0F);
}

TEST_F(Upcycle, ThePartsOfASharedWidthAndAHalfAddUpToOneHalf) {
  options_.granularity = 2;
  options_.shared = 3;  // nine neurons: 0 to 2 twice, 3 to 5 once
  const LayerRecipe recipe = run();
  std::vector<float> sums(6);
  for (std::size_t p = 0; p < recipe.shared->neurons.size(); ++p) {
    sums[static_cast<std::size_t>(recipe.shared->neurons[p])] += recipe.shared->scale[p];
  }
  EXPECT_EQ(sums, std::vector<float>(6, 0.5F));
}

TEST_F(Upcycle, WhatDoesNotDivideOrCannotBeHeldIsRefused) {
  options_.granularity = 4;
  EXPECT_TRUE(mentions(error_of([&] { run(); }), {"--granularity 4", "width 6 of layer 1"}));
  options_.granularity = 3;
  EXPECT_EQ(error_of([&] { run(); }), "no error");
  EXPECT_TRUE(mentions(error_of([&] { run(DType::bf16); }), {"--granularity", "bf16", "of 3"}));
}

}  // namespace
}  // namespace moebius
