#include "train/language_model.h"

#include <gtest/gtest.h>

#include <limits>

#include "base/support.h"
#include "model/random_model.h"
#include "train/parameters.h"

namespace moebius {
namespace {

using support::error_of;
using support::mentions;
using support::random_model;
using Ids = std::vector<std::int32_t>;

Ids ids_of_length(std::size_t length, std::uint64_t seed) {
  const Random random(seed, 1);
  Ids ids(length);
  for (std::size_t i = 0; i < length; ++i) ids[i] = static_cast<std::int32_t>(random.bits(i) % 16);
  return ids;
}

/// The gradients of all weights, by slot.
std::map<std::string, at::Tensor> take_gradients(Model& model) {
  std::map<std::string, at::Tensor> out;
  for (const Parameter& p : select_parameters(model.weights, "all")) {
    at::Tensor& gradient = p.value.mutable_grad();
    out[p.name] = gradient.defined() ? gradient.clone() : at::zeros_like(p.value);
    gradient.reset();
  }
  return out;
}

TEST(LanguageModelLoss, OfUnequalSequencesIsTheWeightedMeanOfTheirOwn) {
  for (const char* family : {"llama", "gpt2", "deepseek_v2"}) {
    Model model = random_model(examples::config_of(family));
    select_parameters(model.weights, "all");
    const Ids first = ids_of_length(9, 1), second = ids_of_length(4, 2);
    const std::vector<float> weights{0, 0, 1, 1, 0.5f, 1, 1, 0};  // an answer behind a prompt
    TokenBatch a, b, both;
    a.add_next_token(first, weights);
    b.add_next_token(second);
    both.add_next_token(first, weights);
    both.add_next_token(second);
    Metrics separate, together;
    (language_model_loss(model, a, {}, separate) * (4.5 / 7.5)).backward();
    (language_model_loss(model, b, {}, separate) * (3.0 / 7.5)).backward();
    const auto expected = take_gradients(model);
    language_model_loss(model, both, {}, together).backward();
    const auto found = take_gradients(model);
    EXPECT_NEAR(together.value("loss"), separate.value("loss"), 1e-6);
    for (const auto& [slot, gradient] : expected) {
      EXPECT_LT(support::largest_difference(found.at(slot), gradient), 1e-5) << family << slot;
    }
  }
}

TEST(LanguageModelLoss, TargetsWithoutWeightDoNotMatter) {
  const Model model = random_model(examples::llama_like("llama"));
  const Ids ids = ids_of_length(6, 3);
  TokenBatch a, b;
  a.add(std::span(ids).first(5), Ids{1, 2, 3, 4, 5}, std::vector<float>{0, 1, 0, 2, 0});
  b.add(std::span(ids).first(5), Ids{9, 2, 9, 4, -1}, std::vector<float>{0, 1, 0, 2, 0});
  Metrics of_a, of_b;
  language_model_loss(model, a, {}, of_a);
  language_model_loss(model, b, {}, of_b);
  EXPECT_EQ(of_a.value("loss"), of_b.value("loss"));
  TokenBatch none;
  none.add_next_token(ids, std::vector<float>(5, 0.0f));
  EXPECT_TRUE(mentions(error_of([&] { language_model_loss(model, none, {}, of_a); }),
                       {"no token of the batch counts"}));
}

TEST(LanguageModelLoss, RecordsTheRoutingOfEveryMoeLayer) {
  const Model model = random_model(examples::overlay_of("llama"));  // layer 1
  TokenBatch batch;
  batch.add_next_token(ids_of_length(11, 5));
  Metrics metrics;
  language_model_loss(model, batch, {.coefficient = 0.1}, metrics);
  ASSERT_EQ(metrics.routing().layers.size(), 2u);
  EXPECT_TRUE(metrics.routing().layers[0].empty());
  EXPECT_EQ(metrics.routing().layers[1].tokens, 10);
  EXPECT_GE(metrics.value("balance_loss"), 1.0 - 1e-6);
}

TEST(LanguageModelLoss, NamesTheLayerThatIsNotFinite) {
  Model model = random_model(examples::llama_like("llama"));
  model.weights.layers[1].attn.v.plain()[0][0] = std::numeric_limits<float>::quiet_NaN();
  TokenBatch batch;
  batch.add_next_token(ids_of_length(5, 7));
  Metrics metrics;
  EXPECT_TRUE(mentions(error_of([&] { language_model_loss(model, batch, {}, metrics); }),
                       {"attention of layer 1"}));
}

class LanguageModelObjectiveTest : public ::testing::Test {
 protected:
  LanguageModelObjective objective(const std::vector<std::string>& names, int sequence = 4,
                                   bool shuffle = true, char digest = '0') {
    std::vector<TokenShard> shards;
    for (const std::string& name : names) {
      const fs::path file = directory_.path() / (name + digest + ".tok");
      write_token_shard(file, ids_of_length(40, 1), 16, std::string(32, digest));
      shards.push_back(TokenShard::open(file));
    }
    return {BatchSampler(shards, 2, sequence, shuffle, 1), names, {}};
  }
  support::TempDir directory_;
};

TEST_F(LanguageModelObjectiveTest, GoesOnWhereItsStateWasTaken) {
  LanguageModelObjective whole = objective({"a.txt", "b.txt"});
  for (int i = 0; i < 3; ++i) whole.draw();
  LanguageModelObjective resumed = objective({"a.txt", "b.txt"});
  resumed.restore(whole.state());
  EXPECT_EQ(resumed.draw().ids_N, whole.draw().ids_N);
  EXPECT_EQ(resumed.state(), whole.state());
}

TEST_F(LanguageModelObjectiveTest, OtherDataOrOptionsAreRefusedByName) {
  const Json state = objective({"a.txt", "b.txt"}).state();
  const auto error = [&](LanguageModelObjective other) {
    return error_of([&] { other.restore(state); });
  };
  EXPECT_TRUE(mentions(error(objective({"a.txt", "c.txt"})), {"data file 2", "b.txt", "c.txt"}));
  EXPECT_TRUE(mentions(error(objective({"a.txt"})), {"2 data files, now 1"}));
  EXPECT_TRUE(mentions(error(objective({"a.txt", "b.txt"}, 4, true, '1')),
                       {"data file 1", "a.txt", "other content"}));
  EXPECT_TRUE(mentions(error(objective({"a.txt", "b.txt"}, 5)), {"--sequence was 4, now 5"}));
  EXPECT_TRUE(
      mentions(error(objective({"a.txt", "b.txt"}, 4, false)), {"--shuffle was true, now false"}));
}

}  // namespace
}  // namespace moebius
