// MoE layers that moebius wrote, laid over the dense layers of a family.
#include "base/support.h"
#include "config/examples.h"

namespace moebius {
namespace {

using examples::overlay_of;
using examples::spec_of;
using support::error_of;
using support::mentions;

TEST(Overlay, ReplacesTheLayersThatItLists) {
  Json config = overlay_of("llama");
  config["moebius"]["layers"][0]["router_weights"] = "sigmoid";
  config["moebius"]["balance_coefficient"] = 0.25;
  const ModelSpec spec = spec_of(config);
  EXPECT_TRUE(spec.overlay);
  EXPECT_EQ(spec.family, "llama");
  EXPECT_EQ(spec.balance_coefficient, 0.25);
  EXPECT_FALSE(spec.layers[0].moe);
  ASSERT_TRUE(spec.layers[1].moe);
  const MoeSpec& moe = *spec.layers[1].moe;
  EXPECT_EQ(moe.experts, 3);
  EXPECT_EQ(moe.top_k, 2);
  EXPECT_EQ(moe.width, 5);
  EXPECT_EQ(moe.shared_width, 4);
  EXPECT_EQ(moe.groups, 3);
  EXPECT_EQ(moe.weights, RouterWeights::sigmoid);
  EXPECT_EQ(spec.layers[1].width, 6);  // the source's
}

TEST(Overlay, EveryNameOfRouterWeightsIsReadBack) {
  for (const auto weights :
       {RouterWeights::softmax_renorm, RouterWeights::softmax, RouterWeights::sigmoid,
        RouterWeights::sigmoid_renorm, RouterWeights::one}) {
    EXPECT_EQ(router_weights_from(name_of(weights), "x"), weights);
    Json config = overlay_of("gpt2");
    config["moebius"]["layers"][0]["router_weights"] = name_of(weights);
    EXPECT_EQ(spec_of(config).layers[1].moe->weights, weights);
  }
  EXPECT_EQ(router_scores_from(name_of(RouterScores::linear), "x"), RouterScores::linear);
}

TEST(Overlay, ContradictionsNameTheRow) {
  const auto expect = [](std::string_view key, const Json& value, std::string_view what) {
    Json config = overlay_of("llama");
    config["moebius"]["layers"][0][std::string(key)] = value;
    EXPECT_TRUE(
        mentions(error_of([&] { spec_of(config); }), {"config.json: moebius: layers[0]", what}))
        << key << value;
  };
  expect("layer", 2, "\"layer\" is 2");
  expect("layer", -1, "\"layer\" is -1");
  expect("experts", 0, "\"experts\" is 0");
  expect("top_k", 4, "top-4 of 3 experts: K must not exceed E");
  expect("top_k", 0, "\"top_k\" is 0");
  expect("width", 0, "\"width\" is 0");
  expect("shared_width", -1, "\"shared_width\" is -1");
  expect("router_groups", 2, "2 groups do not divide 3 experts");
  expect("router_groups", 1, "top-2 would cut a group of 3 experts");
  expect("router_weights", "best", "best");
  expect("router_scores", "psychic", "psychic");
}

TEST(Overlay, FormatAndFamilyMustBeKnown) {
  Json config = overlay_of("llama");
  config["moebius"]["format"] = 2;
  EXPECT_TRUE(mentions(error_of([&] { spec_of(config); }), {"moebius", "\"format\" is 2"}));
  config = overlay_of("llama");
  config["moebius"]["family"] = "moebius";
  EXPECT_TRUE(mentions(error_of([&] { spec_of(config); }), {"unknown architecture"}));
  config.erase("moebius");
  EXPECT_TRUE(mentions(error_of([&] { spec_of(config); }), {"\"moebius\" is missing"}));
}

TEST(CheckMoe, WholeGroupsMustFit) {
  MoeSpec moe{.experts = 8, .top_k = 4, .width = 1, .groups = 4};
  EXPECT_NO_THROW(check_moe(moe, "x"));
  moe.top_k = 3;
  EXPECT_TRUE(mentions(error_of([&] { check_moe(moe, "here"); }), {"here", "cut a group of 2"}));
  moe.groups = 0;
  EXPECT_TRUE(mentions(error_of([&] { check_moe(moe, "here"); }), {"0 groups"}));
}

}  // namespace
}  // namespace moebius
