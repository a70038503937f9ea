#include "train/parameters.h"

#include <gtest/gtest.h>

#include "base/support.h"
#include "model/random_model.h"

namespace moebius {
namespace {

using support::error_of;
using support::mentions;
using support::random_model;

std::vector<std::string> names_of(const std::vector<Parameter>& parameters) {
  std::vector<std::string> names;
  for (const Parameter& p : parameters) names.push_back(p.name);
  return names;
}

/// Slots that hold gradients after `select_parameters`.
std::vector<std::string> requiring(Weights& weights) {
  std::vector<std::string> names;
  for_each_weight(
      [&](const std::string& slot, Weight& leaf) {
        if (leaf.defined() && leaf.plain().requires_grad()) names.push_back(slot);
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
    EXPECT_EQ(p.decays, !vector) << p.name;
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

TEST(ParameterGroup, IsReadFromItsText) {
  const ParameterGroup both = ParameterGroup::parse("layers.0.*:  lr=0.1   decay=0 ");
  EXPECT_EQ(both.pattern, "layers.0.*");
  EXPECT_EQ(both.lr_factor, 0.1);
  EXPECT_EQ(both.decay, 0.0);
  const ParameterGroup one = ParameterGroup::parse("*.router.weight:lr=2");
  EXPECT_EQ(one.lr_factor, 2.0);
  EXPECT_FALSE(one.decay);
  for (const char* text : {"", "layers.0.*", ": lr=1", "a:", "a: lr=", "a: lr=x", "a: lr=-1",
                           "a: lr=inf", "a: decay=1x", "a: rate=1", "a: lr=1,decay=0"}) {
    EXPECT_TRUE(mentions(error_of([&] { ParameterGroup::parse(text); }),
                         {"--group", text, "lr=0.1 decay=0"}))
        << text;
  }
}

TEST(ApplyGroups, TheLastOneThatMatchesCounts) {
  Model model = random_model(examples::overlay_of("llama"));
  std::vector<Parameter> parameters = select_parameters(model.weights, "all");
  apply_groups({{"layers.1.*", 0.5, 0.25}, {"*.moe.router.*", 2.0, {}}}, parameters);
  for (const Parameter& p : parameters) {
    const bool router = is_router(p.name), second = p.name.starts_with("layers.1.");
    EXPECT_EQ(p.lr_factor, router ? 2.0 : second ? 0.5 : 1.0) << p.name;
    EXPECT_EQ(p.decay.has_value(), second && !router) << p.name;
  }
  EXPECT_TRUE(mentions(error_of([&] {
                         apply_groups({{"layers.9.*", 1, {}}}, parameters);
                       }),
                       {"--group layers.9.*", "no weight that trains"}));
}

}  // namespace
}  // namespace moebius
