#include <nlohmann/json.hpp>

#include "convert/upcycle.h"
#include "convert/written_source.h"

namespace moebius {
namespace {

using examples::config_of;
using examples::llama_like;
using support::error_of;
using support::mentions;
using support::output_named;
using support::stored;
using support::tensor_of;
using support::weights_of;
using support::WrittenSources;

const std::vector<std::string> mixtures{"mixtral", "granitemoe",  "qwen2_moe",  "qwen3_moe",
                                        "olmoe",   "deepseek_v2", "deepseek_v3"};

void expect_equal(const Weights& a, const Weights& b, const std::string& what) {
  for_each_weight(
      [&](const std::string& slot, const Weight& x, const Weight& y) {
        ASSERT_EQ(x.defined(), y.defined()) << slot << " of " << what;
        if (!x.defined()) return;
        EXPECT_TRUE(at::equal(x.plain(), y.plain())) << slot << " of " << what;
      },
      a, b);
}

class Plan : public ::testing::Test {
 protected:
  /// Upcycles all layers of the first source, with three experts each.
  OutputPlan upcycled(const WrittenSources& written) {
    const auto count = static_cast<std::int64_t>(written.first().spec.layers.size());
    std::vector<std::int64_t> layers;
    const LayerOptions layer{.experts = 3, .top_k = 2};
    const std::vector<float> rows(3 * 8, 0.5F);
    for (std::int64_t l = 0; l < count; ++l) {
      layers.push_back(l);
      recipes_[l] = upcycle_layer(written.sources, l, layer, rows, DType::f32);
    }
    return plan_output(written.sources, layers, recipes_, options_, ctx_);
  }
  OutputPlan unchanged(const WrittenSources& written) {
    return plan_output(written.sources, {}, recipes_, options_, ctx_);
  }
  static Json config_in(const OutputPlan& plan) { return Json::parse(plan.config); }

  ConvertOptions options_;
  Context ctx_;
  Recipes recipes_;
};

TEST_F(Plan, WhatStaysIsTheSourcesBytes) {
  for (const std::string& family : examples::all_families) {
    const WrittenSources written(config_of(family), ExpertLayout::usual);
    const OutputPlan plan = unchanged(written);
    for (const OutputTensor& tensor : plan.tensors) {
      ASSERT_EQ(tensor.parts.size(), 1u) << tensor.wanted.name;
      EXPECT_EQ(tensor.parts[0].source, written.first().index.find(tensor.wanted.name));
    }
    expect_equal(weights_of(plan), written.model().weights, family);
  }
}

TEST_F(Plan, ExpertsAreWrittenInEitherLayoutFromEither) {
  for (const std::string& family : mixtures) {
    for (const ExpertLayout layout : {ExpertLayout::usual, ExpertLayout::fused}) {
      const WrittenSources written(config_of(family), layout);
      for (const char* wanted : {"", "fused", "separate"}) {
        if (family == "granitemoe" && std::string_view(wanted) == "separate") continue;
        options_.expert_layout = wanted;
        const OutputPlan plan = unchanged(written);
        expect_equal(weights_of(plan), written.model().weights, family + " " + wanted);
        const bool fused =
            std::any_of(plan.tensors.begin(), plan.tensors.end(),
                        [](const OutputTensor& tensor) { return tensor.wanted.shape.size() == 3; });
        EXPECT_EQ(fused, family == "granitemoe" || std::string_view(wanted) == "fused");
      }
    }
  }
}

TEST_F(Plan, UpcycledExpertsAreTheDenseMatrices) {
  const WrittenSources written(llama_like("llama"), ExpertLayout::usual);
  for (const char* layout : {"", "fused"}) {
    options_.expert_layout = layout;
    const OutputPlan plan = upcycled(written);
    EXPECT_EQ(plan.spec.family, "mixtral");
    EXPECT_EQ(plan.modeling, "");
    EXPECT_EQ(config_in(plan)["model_type"], "mixtral");
    EXPECT_EQ(config_in(plan)["num_local_experts"], 3);
    const Weights weights = weights_of(plan);
    for (std::int64_t l = 0; l < 2; ++l) {
      const auto& experts = weights.layers[static_cast<std::size_t>(l)].moe()->experts;
      for (std::int64_t e = 0; e < 3; ++e) {
        const std::string ffn = fmt::format("layers.{}.ffn.", l);
        EXPECT_TRUE(
            at::equal(experts.gate.plain()[e], stored(written.first(), ffn + "gate.weight")));
        EXPECT_TRUE(at::equal(experts.up.plain()[e], stored(written.first(), ffn + "up.weight")));
        EXPECT_TRUE(
            at::equal(experts.down.plain()[e], stored(written.first(), ffn + "down.weight")));
      }
    }
  }
  options_.expert_layout = "";
  const OutputPlan plan = upcycled(written);
  const at::Tensor router =
      tensor_of(output_named(plan, "model.layers.1.block_sparse_moe.gate.weight"));
  EXPECT_TRUE(at::equal(router, at::full({3, 8}, 0.5)));
  const TensorPart& part =
      output_named(plan, "model.layers.0.block_sparse_moe.experts.2.w1.weight").parts.at(0);
  EXPECT_EQ(part.source, written.first().index.find("model.layers.0.mlp.gate_proj.weight"));
}

TEST_F(Plan, AFamilyWithoutAClassOfItsOwnBecomesAnOverlay) {
  const WrittenSources written(config_of("gpt2"), ExpertLayout::usual);
  const OutputPlan plan = upcycled(written);
  EXPECT_TRUE(plan.spec.overlay);
  EXPECT_NE(plan.modeling.find("GPT2LMHeadModel"), std::string::npos);
  EXPECT_EQ(config_in(plan)["moebius"]["layers"].size(), 2u);
  EXPECT_EQ(config_in(plan)["moebius"]["layers"][1]["experts"], 3);
  const OutputTensor& up = output_named(plan, "transformer.h.1.mlp.experts.2.c_fc.weight");
  EXPECT_TRUE(at::equal(tensor_of(up).t(), stored(written.first(), "layers.1.ffn.up.weight")));
}

TEST_F(Plan, ADtypeIsRoundedToAndStatedOnce) {
  Json config = llama_like("llama");
  config["torch_dtype"] = "float32";
  config["dtype"] = "float32";
  const WrittenSources written(config, ExpertLayout::usual);
  options_.dtype = "bf16";
  const OutputPlan plan = unchanged(written);
  EXPECT_EQ(config_in(plan)["dtype"], "bfloat16");
  EXPECT_FALSE(config_in(plan).contains("torch_dtype"));
  for (const OutputTensor& tensor : plan.tensors) {
    EXPECT_EQ(tensor.dtype, DType::bf16);
    const at::Tensor before = map_tensor(*written.first().index.find(tensor.wanted.name));
    EXPECT_TRUE(at::equal(tensor_of(tensor), before.to(at::kBFloat16))) << tensor.wanted.name;
  }
}

TEST_F(Plan, TheRestMayBeTheAverageOfSourcesInDifferentLayouts) {
  for (const ExpertLayout layout : {ExpertLayout::usual, ExpertLayout::fused}) {
    WrittenSources written(config_of("mixtral"), layout);
    written.add(ExpertLayout::usual);
    options_.rest = OtherWeights::average;
    const Weights weights = weights_of(unchanged(written));
    for_each_weight(
        [&](const std::string& slot, const Weight& mean, const Weight& a, const Weight& b) {
          if (!mean.defined()) return;
          const at::Tensor sum = a.plain().to(at::kDouble) + b.plain().to(at::kDouble);
          EXPECT_TRUE(at::equal(mean.plain(), (sum / 2).to(at::kFloat))) << slot;
        },
        weights, written.model(0).weights, written.model(1).weights);
  }
}

TEST_F(Plan, AHeadOfItsOwnIsWrittenAndTheConfigurationSaysSo) {
  Json config = llama_like("llama");
  const WrittenSources untied(config, ExpertLayout::usual);
  config["tie_word_embeddings"] = true;
  std::ofstream(untied.first().directory / "config.json") << config.dump();
  Sources sources;
  sources.emplace_back(untied.first().directory, Log(LogLevel::off));
  const OutputPlan plan = plan_output(sources, {}, recipes_, options_, ctx_);
  EXPECT_EQ(config_in(plan)["tie_word_embeddings"], false);
  EXPECT_TRUE(at::equal(tensor_of(output_named(plan, "lm_head.weight")),
                        untied.model().weights.head.plain()));
}

TEST_F(Plan, KeysOfTheSourcesStorageAreLeftOut) {
  Json config = llama_like("llama");
  config["quantization_config"] = {{"quant_method", "bitsandbytes"}, {"load_in_4bit", true}};
  const WrittenSources written(config, ExpertLayout::usual);
  EXPECT_FALSE(config_in(unchanged(written)).contains("quantization_config"));
  EXPECT_FALSE(config_in(upcycled(written)).contains("quantization_config"));
}

TEST(Source, SlicesAreTheSameInBothLayouts) {
  const WrittenSources separate(config_of("qwen3_moe"), ExpertLayout::usual);
  const WrittenSources fused(config_of("qwen3_moe"), ExpertLayout::fused);
  for (const char* part : {"gate", "up", "down"}) {
    const std::string slot = fmt::format("layers.1.moe.experts.{}.weight", part);
    for (std::int64_t e = 0; e < 4; ++e) {
      EXPECT_TRUE(at::equal(stored(separate.first(), slot, e), stored(fused.first(), slot, e)));
    }
  }
  EXPECT_TRUE(fused.first().holds("layers.1.moe.experts.up.weight"));
  EXPECT_FALSE(fused.first().holds("layers.1.ffn.up.weight"));
  EXPECT_TRUE(mentions(error_of([&] { fused.first().slice("layers.1.ffn.up.weight"); }),
                       {"no tensor holds layers.1.ffn.up.weight"}));
}

}  // namespace
}  // namespace moebius
