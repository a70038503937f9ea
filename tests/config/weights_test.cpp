#include "config/weights.h"

#include <map>

#include "base/support.h"
#include "config/examples.h"

namespace moebius {
namespace {

using examples::spec_of;

std::map<std::string, Shape> shapes_by_slot(const ModelSpec& spec) {
  std::map<std::string, Shape> by_slot;
  const auto shapes = weight_shapes(spec);
  for_each_weight(
      [&](const std::string& slot, const Shape& shape) {
        EXPECT_TRUE(by_slot.emplace(slot, shape).second) << slot << " was visited twice";
      },
      shapes);
  std::erase_if(by_slot, [](const auto& each) { return each.second.empty(); });
  return by_slot;
}

TEST(WeightShapes, OfADenseLlama) {
  const auto shapes = shapes_by_slot(spec_of(examples::llama_like("llama")));
  EXPECT_EQ(shapes.size(), 3u + 2u * 9u);
  EXPECT_EQ(shapes.at("embed.weight"), (Shape{16, 8}));
  EXPECT_EQ(shapes.at("head.weight"), (Shape{16, 8}));
  EXPECT_EQ(shapes.at("norm.weight"), Shape{8});
  EXPECT_EQ(shapes.at("layers.1.attn.q.weight"), (Shape{8, 8}));
  EXPECT_EQ(shapes.at("layers.1.attn.v.weight"), (Shape{4, 8}));
  EXPECT_EQ(shapes.at("layers.0.ffn.gate.weight"), (Shape{6, 8}));
  EXPECT_EQ(shapes.at("layers.0.ffn.down.weight"), (Shape{8, 6}));
}

TEST(WeightShapes, BiasesWhereTheConfigurationHasThem) {
  Json config = examples::llama_like("llama");
  config["attention_bias"] = true;
  config["mlp_bias"] = true;
  const auto shapes = shapes_by_slot(spec_of(config));
  EXPECT_EQ(shapes.at("layers.0.attn.k.bias"), Shape{4});
  EXPECT_EQ(shapes.at("layers.0.attn.o.bias"), Shape{8});
  EXPECT_EQ(shapes.at("layers.0.ffn.gate.bias"), Shape{6});
  EXPECT_EQ(shapes.at("layers.0.ffn.down.bias"), Shape{8});
}

TEST(WeightShapes, ExpertsHaveALeadingEAndTheSharedFfnHasNot) {
  const auto shapes = shapes_by_slot(spec_of(examples::overlay_of("gpt2")));
  EXPECT_EQ(shapes.at("layers.1.moe.router.weight"), (Shape{3, 8}));
  EXPECT_EQ(shapes.at("layers.1.moe.experts.up.weight"), (Shape{3, 5, 8}));
  EXPECT_EQ(shapes.at("layers.1.moe.experts.up.bias"), (Shape{3, 5}));
  EXPECT_EQ(shapes.at("layers.1.moe.experts.down.weight"), (Shape{3, 8, 5}));
  EXPECT_EQ(shapes.at("layers.1.moe.shared.up.weight"), (Shape{4, 8}));
  EXPECT_FALSE(shapes.contains("layers.1.moe.experts.gate.weight"));
  EXPECT_FALSE(shapes.contains("layers.1.ffn.up.weight"));
  EXPECT_TRUE(shapes.contains("layers.0.ffn.up.weight"));
}

TEST(WeightShapes, OfLatentAttention) {
  Json config = examples::deepseek("deepseek_v2");
  config["attention_bias"] = true;
  const auto shapes = shapes_by_slot(spec_of(config));
  EXPECT_EQ(shapes.at("layers.1.attn.q_latent.a.weight"), (Shape{5, 8}));
  EXPECT_EQ(shapes.at("layers.1.attn.q_latent.a.bias"), Shape{5});
  EXPECT_EQ(shapes.at("layers.1.attn.q_latent.norm.weight"), Shape{5});
  EXPECT_EQ(shapes.at("layers.1.attn.q_latent.b.weight"), (Shape{24, 5}));
  EXPECT_EQ(shapes.at("layers.1.attn.kv_latent.a.weight"), (Shape{9, 8}));
  EXPECT_EQ(shapes.at("layers.1.attn.kv_latent.norm.weight"), Shape{7});
  EXPECT_EQ(shapes.at("layers.1.attn.kv_latent.b.weight"), (Shape{28, 7}));
  EXPECT_EQ(shapes.at("layers.1.attn.o.weight"), (Shape{8, 12}));
  EXPECT_FALSE(shapes.contains("layers.1.attn.q.weight") ||
               shapes.contains("layers.1.attn.k.weight"));
  config["q_lora_rank"] = nullptr;
  const auto whole = shapes_by_slot(spec_of(config));
  EXPECT_EQ(whole.at("layers.1.attn.q.weight"), (Shape{24, 8}));
  EXPECT_FALSE(whole.contains("layers.1.attn.q_latent.a.weight") ||
               whole.contains("layers.1.attn.q.bias"));
}

TEST(WeightShapes, ATiedHeadIsNoStorageOfItsOwn) {
  Json config = examples::llama_like("llama");
  config["tie_word_embeddings"] = true;
  EXPECT_FALSE(shapes_by_slot(spec_of(config)).contains("head.weight"));
  EXPECT_FALSE(shapes_by_slot(spec_of(examples::gpt2())).contains("head.weight"));
  EXPECT_EQ(shapes_by_slot(spec_of(examples::gpt2())).at("position.weight"), (Shape{32, 8}));
}

TEST(ForEachWeight, WalksSeveralTreesSideBySideAndMayChangeThem) {
  const ModelSpec spec = spec_of(examples::overlay_of("llama"));
  const auto shapes = weight_shapes(spec);
  auto counts = make_weights<std::int64_t>(spec);
  for_each_weight([](const std::string&, std::int64_t& count,
                     const Shape& shape) { count = element_count(shape); },
                  counts, shapes);
  EXPECT_EQ(counts.embed, 128);
  ASSERT_NE(counts.layers[1].moe(), nullptr);
  EXPECT_EQ(counts.layers[1].moe()->experts.gate, 3 * 5 * 8);
  EXPECT_EQ(counts.layers[1].moe()->shared.down, 4 * 8);
  EXPECT_EQ(counts.layers[0].moe(), nullptr);
}

TEST(ModelCost, OfADenseLlamaByHand) {
  const ModelCost cost = model_cost(spec_of(examples::llama_like("llama")));
  const std::int64_t attention = 64 + 32 + 32 + 64, ffn = 3 * 48, norms = 8 + 8;
  EXPECT_EQ(cost.parameters, 2 * 128 + 8 + 2 * (attention + ffn + norms));
  EXPECT_EQ(cost.active_parameters, cost.parameters);
  EXPECT_EQ(cost.flops_per_token, 2 * (128 + 2 * (attention + ffn)));
}

TEST(ModelCost, OfAMixtralByHand) {
  const ModelCost cost = model_cost(spec_of(examples::llama_like("mixtral")));
  const std::int64_t attention = 64 + 32 + 32 + 64, expert = 3 * 48, router = 32, norms = 16;
  EXPECT_EQ(cost.parameters, 2 * 128 + 8 + 2 * (attention + 4 * expert + router + norms));
  EXPECT_EQ(cost.active_parameters, 2 * 128 + 8 + 2 * (attention + 2 * expert + router + norms));
  EXPECT_EQ(cost.flops_per_token, 2 * (128 + 2 * (attention + 2 * expert + router)));
}

TEST(ModelCost, CountsSharedExpertsBiasesAndATiedHead) {
  const ModelCost cost = model_cost(spec_of(examples::overlay_of("gpt2")));
  const std::int64_t attention = 4 * 64, dense = 2 * 8 * 32, expert = 2 * 8 * 5, shared = 2 * 8 * 4;
  const std::int64_t attention_bias = 4 * 8, dense_bias = 32 + 8, expert_bias = 5 + 8;
  const std::int64_t rest = 128 + 256 + 16 + 2 * (attention + attention_bias + 32) + dense +
                            dense_bias + shared + 4 + 8 + 24;
  EXPECT_EQ(cost.parameters, rest + 3 * (expert + expert_bias));
  EXPECT_EQ(cost.active_parameters, rest + 2 * (expert + expert_bias));
  EXPECT_EQ(cost.flops_per_token, 2 * (128 + 2 * attention + dense + 24 + shared + 2 * expert));
}

TEST(ModelCost, CountsLatentsAndNoCorrection) {
  const ModelCost cost = model_cost(spec_of(examples::deepseek("deepseek_v3")));
  const std::int64_t into = 5 * 8 + (7 + 2) * 8, out_of = 24 * 5 + 4 * (4 + 3) * 7, o = 8 * 12;
  const std::int64_t expert = 3 * 48, shared = 2 * expert, router = 32, norms = 16 + 5 + 7;
  const std::int64_t multiplied = into + out_of + o + router + shared;
  EXPECT_EQ(cost.parameters, 2 * 128 + 8 + 2 * (multiplied + 4 * expert + norms));
  EXPECT_EQ(cost.active_parameters, 2 * 128 + 8 + 2 * (multiplied + 2 * expert + norms));
  EXPECT_EQ(cost.flops_per_token, 2 * (128 + 2 * (multiplied + 2 * expert)));
}

TEST(Shapes, CountAndPrint) {
  EXPECT_EQ(element_count({}), 0);  // the model has no such weight
  EXPECT_EQ(element_count({3, 4}), 12);
  EXPECT_EQ(to_string(Shape{64, 32}), "[64, 32]");
  EXPECT_EQ(to_string(Shape{}), "[]");
}

}  // namespace
}  // namespace moebius
