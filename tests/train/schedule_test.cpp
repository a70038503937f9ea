#include <gtest/gtest.h>

#include "base/support.h"
#include "model/random_model.h"
#include "train/loop.h"

namespace moebius {
namespace {

using support::random_model;

TEST(LrAt, WarmsUpInALineAndEndsInACosine) {
  const OptimizerOptions o{.lr = 2.0, .min_lr_ratio = 0.1, .warmup = 4};
  EXPECT_DOUBLE_EQ(o.lr_at(0, 104), 0.5);
  EXPECT_DOUBLE_EQ(o.lr_at(1, 104), 1.0);
  EXPECT_DOUBLE_EQ(o.lr_at(3, 104), 2.0);
  EXPECT_DOUBLE_EQ(o.lr_at(4, 104), 2.0);
  EXPECT_NEAR(o.lr_at(54, 104), 0.5 * (2.0 + 0.2), 1e-12);  // half way
  EXPECT_NEAR(o.lr_at(104, 104), 0.2, 1e-12);
  EXPECT_NEAR(o.lr_at(1000, 104), 0.2, 1e-12);
  for (int step = 5; step < 104; ++step) EXPECT_LT(o.lr_at(step, 104), o.lr_at(step - 1, 104));
}

TEST(LrAt, WithoutWarmupStartsAtTheTopAndWithRatioOneStaysThere) {
  const OptimizerOptions o{.lr = 2.0, .min_lr_ratio = 0.0};
  EXPECT_DOUBLE_EQ(o.lr_at(0, 10), 2.0);
  EXPECT_NEAR(o.lr_at(10, 10), 0.0, 1e-12);
  const OptimizerOptions flat{.lr = 2.0, .min_lr_ratio = 1.0};
  for (int step = 0; step < 12; ++step) EXPECT_DOUBLE_EQ(flat.lr_at(step, 10), 2.0);
  const OptimizerOptions all_warmup{.lr = 2.0, .warmup = 10};
  EXPECT_DOUBLE_EQ(all_warmup.lr_at(9, 10), 2.0);
}

std::vector<std::string> names_of(const std::vector<Parameter>& parameters) {
  std::vector<std::string> names;
  for (const Parameter& p : parameters) names.push_back(p.name);
  return names;
}

/// Slots that hold gradients after `select_parameters`.
std::vector<std::string> requiring(Weights& weights) {
  std::vector<std::string> names;
  for_each_weight(
      [&](const std::string& slot, at::Tensor& weight) {
        if (weight.defined() && weight.requires_grad()) names.push_back(slot);
      },
      weights);
  return names;
}

TEST(SelectParameters, AllTakesEveryStorageOnce) {
  Model model = random_model(examples::gpt2());  // tied head
  const auto chosen = select_parameters(model.weights, "all");
  std::int64_t elements = 0;
  for (const Parameter& p : chosen) elements += p.value.numel();
  EXPECT_EQ(elements, model_cost(model.spec).parameters);
  EXPECT_EQ(requiring(model.weights), names_of(chosen));
}

TEST(SelectParameters, NormsAndBiasesDoNotDecay) {
  Model model = random_model(examples::overlay_of("gpt2"));
  for (const Parameter& p : select_parameters(model.weights, "all")) {
    const bool vector = p.name.ends_with(".bias") || p.name.find("norm") != std::string::npos;
    EXPECT_EQ(p.decay, !vector) << p.name;
  }
}

TEST(SelectParameters, RouterAndExpertsAreWhatTheirNamesSay) {
  Model model = random_model(examples::overlay_of("llama"));
  EXPECT_EQ(names_of(select_parameters(model.weights, "router")),
            std::vector<std::string>{"layers.1.moe.router.weight"});
  EXPECT_EQ(names_of(select_parameters(model.weights, "experts")),
            (std::vector<std::string>{"layers.1.moe.experts.gate.weight",
                                      "layers.1.moe.experts.up.weight",
                                      "layers.1.moe.experts.down.weight"}));
  EXPECT_EQ(requiring(model.weights).size(), 3u);  // a second choice undoes the first
}

TEST(SelectParameters, APatternChoosesSlots) {
  Model model = random_model(examples::llama_like("llama"));
  EXPECT_EQ(names_of(select_parameters(model.weights, "layers.1.attn.*")),
            (std::vector<std::string>{"layers.1.attn.q.weight", "layers.1.attn.k.weight",
                                      "layers.1.attn.v.weight", "layers.1.attn.o.weight"}));
  EXPECT_EQ(names_of(select_parameters(model.weights, "head.weight")).size(), 1u);
}

TEST(SelectParameters, NothingChosenIsAnErrorThatSaysWhatThereIs) {
  Model model = random_model(examples::llama_like("llama"));
  for (const char* train : {"router", "experts", "layers.9.*", "everything"}) {
    EXPECT_TRUE(
        support::mentions(support::error_of([&] { select_parameters(model.weights, train); }),
                          {"--train", train, "all, router, experts"}));
  }
}

}  // namespace
}  // namespace moebius
