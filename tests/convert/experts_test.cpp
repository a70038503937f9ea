#include "convert/experts.h"

#include "convert/router.h"
#include "convert/written_source.h"

namespace moebius {
namespace {

using examples::llama_like;
using support::error_of;
using support::mentions;
using support::WrittenSources;

constexpr std::size_t d = 8;  // of examples::llama_like, which has 4 experts, top-2

class ExpertRecipes : public ::testing::Test {
 protected:
  /// Row `e` of the source's router.
  std::vector<float> row(std::int64_t e) const {
    const at::Tensor rows = support::stored(written_.first(), "layers.1.moe.router.weight");
    const at::Tensor one = rows[e].contiguous();
    return {one.const_data_ptr<float>(), one.const_data_ptr<float>() + d};
  }
  static std::vector<float> row_of(const LayerRecipe& recipe, std::size_t e) {
    const std::vector<float>& rows = recipe.router.at("weight");
    return {rows.begin() + static_cast<std::ptrdiff_t>(e * d),
            rows.begin() + static_cast<std::ptrdiff_t>((e + 1) * d)};
  }
  static std::vector<std::int64_t> origins(const FfnRecipe& expert) {
    std::vector<std::int64_t> numbers;
    for (const FfnOrigin& origin : expert.origins) numbers.push_back(origin.expert);
    return numbers;
  }

  WrittenSources written_{llama_like("mixtral"), ExpertLayout::usual};
  LayerOptions options_;
  FfnTrace trace_{.layer = 1, .usage = {1, 5, 3, 4}};
};

TEST_F(ExpertRecipes, ExpandedOnesAreCopiesInTurnWhoseRowsMoveApart) {
  options_.experts = 6;
  const LayerRecipe recipe = expand_layer(written_.first(), 1, options_, 9);
  EXPECT_EQ(recipe.moe.experts, 6);
  EXPECT_EQ(recipe.moe.groups, 6);
  EXPECT_EQ(recipe.moe.top_k, 2);
  const auto directions = fresh_router(written_.first(), 1, 4, 9);
  for (std::size_t e = 0; e < 6; ++e) {
    const std::size_t origin = e % 4;
    EXPECT_EQ(origins(recipe.experts[e]), std::vector<std::int64_t>{std::int64_t(origin)});
    EXPECT_TRUE(is_copy(recipe.experts[e], "down.weight", 6));
    const auto before = row(std::int64_t(origin)), after = row_of(recipe, e);
    for (std::size_t i = 0; i < d; ++i) {
      // 0 and 1 have a copy each, 4 and 5; 2 and 3 have none and stay.
      const float sign = origin > 1 ? 0.0F : e < 4 ? 1.0F : -1.0F;
      EXPECT_EQ(after[i], before[i] + sign * directions[origin * d + i]) << e;
    }
  }
}

TEST_F(ExpertRecipes, NoiseIsForTheCopiesAlone) {
  options_.experts = 5;
  options_.noise = 0.1;
  const LayerRecipe recipe = expand_layer(written_.first(), 0, options_, 9);
  for (std::size_t e = 0; e < 5; ++e) EXPECT_EQ(recipe.experts[e].noise, e == 4 ? 0.1 : 0);
}

TEST_F(ExpertRecipes, PruningKeepsTheMostUsedInTheirOrder) {
  options_.experts = 2;
  const LayerRecipe recipe = prune_layer(written_.first(), trace_, options_);
  EXPECT_EQ(recipe.moe.experts, 2);
  EXPECT_EQ(origins(recipe.experts[0]), std::vector<std::int64_t>{1});
  EXPECT_EQ(origins(recipe.experts[1]), std::vector<std::int64_t>{3});
  EXPECT_EQ(row_of(recipe, 0), row(1));
  EXPECT_EQ(row_of(recipe, 1), row(3));
}

TEST_F(ExpertRecipes, MergingIsAMeanByTokensOfThoseWhoseScoresGoTogether) {
  options_.experts = 2;
  // Scores of 0 go with those of 3, those of 2 with those of 1.
  trace_.router_TE = at::tensor({1.F, -1.F, -1.F, 1.F,  //
                                 2.F, -2.F, -1.F, 1.F,  //
                                 -1.F, 1.F, 2.F, -2.F,  //
                                 -2.F, 2.F, 1.F, -1.F})
                         .view({4, 4});
  const LayerRecipe recipe = merge_layer(written_.first(), trace_, options_);
  EXPECT_EQ(origins(recipe.experts[0]), (std::vector<std::int64_t>{1, 2}));
  EXPECT_EQ(origins(recipe.experts[1]), (std::vector<std::int64_t>{3, 0}));
  EXPECT_DOUBLE_EQ(recipe.experts[0].origins[0].weight, 5.0 / 8);
  EXPECT_DOUBLE_EQ(recipe.experts[0].origins[1].weight, 3.0 / 8);
  EXPECT_DOUBLE_EQ(recipe.experts[1].origins[0].weight, 4.0 / 5);
  EXPECT_EQ(row_of(recipe, 1), row(3));
}

TEST_F(ExpertRecipes, MergedWeightsAreTheMean) {
  FfnRecipe merged = copy_of_ffn({.expert = 0}, 6);
  merged.origins = {{.expert = 0, .weight = 0.25}, {.expert = 3, .weight = 0.75}};
  const std::string slot = "layers.1.moe.experts.up.weight";
  const std::vector<WeightSlice> slices{written_.first().slice(slot, 0),
                                        written_.first().slice(slot, 3)};
  const auto bytes = make_ffn_tensor(merged, "up.weight", slices, DType::f32, 1, 1);
  const at::Tensor mean = 0.25 * support::stored(written_.first(), slot, 0).to(at::kDouble) +
                          0.75 * support::stored(written_.first(), slot, 3).to(at::kDouble);
  for (std::int64_t i = 0; i < mean.numel(); ++i) {
    EXPECT_EQ(load_weight(bytes.data(), DType::f32, static_cast<std::size_t>(i)),
              static_cast<float>(mean.flatten()[i].item<double>()));
  }
}

TEST_F(ExpertRecipes, CountsThatAreNoChangeOrTooFewAreRefused) {
  options_.experts = 4;
  EXPECT_TRUE(mentions(error_of([&] { expand_layer(written_.first(), 1, options_, 1); }),
                       {"--experts 4", "layer 1 has 4", "more"}));
  EXPECT_TRUE(mentions(error_of([&] { prune_layer(written_.first(), trace_, options_); }),
                       {"--experts 4", "layer 1 has 4", "fewer"}));
  options_.experts = 1;
  EXPECT_TRUE(mentions(error_of([&] { prune_layer(written_.first(), trace_, options_); }),
                       {"--experts 1", "layer 1 takes 2"}));
}

}  // namespace
}  // namespace moebius
