#include <map>
#include <set>

#include "base/support.h"
#include "config/examples.h"

namespace moebius {
namespace {

using examples::config_of;
using examples::overlay_of;
using examples::spec_of;

using Layout = std::map<std::string, FileTensor>;

Layout layout_of(const Json& config) {
  Layout by_name;
  for (FileTensor& tensor : file_layout(spec_of(config))) {
    EXPECT_TRUE(by_name.emplace(tensor.name, tensor).second) << tensor.name << " twice";
  }
  return by_name;
}

std::set<std::string> names(const Layout& layout, const std::string& containing) {
  std::set<std::string> found;
  for (const auto& [name, tensor] : layout) {
    if (name.find(containing) != std::string::npos) found.insert(name);
  }
  return found;
}

TEST(FileLayout, HoldsEveryParameterOnceInEveryFamily) {
  for (const std::string& family : examples::all_families) {
    for (const Json& config : {config_of(family), overlay_of(family)}) {
      if (spec_of(config).overlay && spec_of(config_of(family)).layers[0].moe) continue;
      std::int64_t elements = 0;
      for (const auto& [name, tensor] : layout_of(config)) {
        if (!is_buffer(tensor.slots[0])) elements += element_count(tensor.shape);
      }
      EXPECT_EQ(elements, model_cost(spec_of(config)).parameters) << family;
    }
  }
}

TEST(FileLayout, FusedExpertsHoldTheSameParametersInFewerTensors) {
  for (const char* family :
       {"mixtral", "qwen2_moe", "qwen3_moe", "olmoe", "deepseek_v2", "deepseek_v3"}) {
    ModelSpec spec = spec_of(config_of(family));
    spec.expert_layout = ExpertLayout::fused;
    std::int64_t elements = 0;
    for (const FileTensor& tensor : file_layout(spec)) {
      EXPECT_EQ(tensor.expert, -1) << tensor.name;
      if (!is_buffer(tensor.slots[0])) elements += element_count(tensor.shape);
      if (tensor.name != "model.layers.1.mlp.experts.gate_up_proj") continue;
      EXPECT_EQ(tensor.shape, (Shape{4, 12, 8})) << family;
      EXPECT_EQ(tensor.slots, (std::vector<std::string>{"layers.1.moe.experts.gate.weight",
                                                        "layers.1.moe.experts.up.weight"}));
    }
    EXPECT_EQ(elements, model_cost(spec).parameters) << family;
  }
}

TEST(FileLayout, GraniteIsFusedAlreadyAndHasNoSeparateLayout) {
  ModelSpec spec = spec_of(config_of("granitemoe"));
  const auto names_of = [](const ModelSpec& of) {
    std::vector<std::string> names;
    for (const FileTensor& tensor : file_layout(of)) names.push_back(tensor.name);
    return names;
  };
  const auto usual = names_of(spec);
  spec.expert_layout = ExpertLayout::fused;
  EXPECT_EQ(names_of(spec), usual);
  spec.expert_layout = ExpertLayout::separate;
  EXPECT_TRUE(support::mentions(support::error_of([&] { file_layout(spec); }),
                                {"--expert-layout separate", "granitemoe"}));
}

TEST(FileLayout, OfLlamaAndMistral) {
  for (const char* family : {"llama", "mistral"}) {
    const Layout layout = layout_of(config_of(family));
    EXPECT_EQ(layout.size(), 21u);
    EXPECT_EQ(names(layout, "layers.1.mlp"),
              (std::set<std::string>{"model.layers.1.mlp.gate_proj.weight",
                                     "model.layers.1.mlp.up_proj.weight",
                                     "model.layers.1.mlp.down_proj.weight"}));
    EXPECT_TRUE(layout.contains("model.embed_tokens.weight"));
    EXPECT_TRUE(layout.contains("lm_head.weight"));
    const FileTensor& k = layout.at("model.layers.0.self_attn.k_proj.weight");
    EXPECT_EQ(k.shape, (Shape{4, 8}));
    EXPECT_EQ(k.slots, std::vector<std::string>{"layers.0.attn.k.weight"});
    EXPECT_EQ(k.expert, -1);
    EXPECT_FALSE(k.transposed);
  }
}

TEST(FileLayout, MixtralStoresOneTensorAnExpert) {
  const Layout layout = layout_of(config_of("mixtral"));
  EXPECT_EQ(names(layout, "block_sparse_moe").size(), 2u * (1 + 4 * 3));
  const FileTensor& down = layout.at("model.layers.1.block_sparse_moe.experts.3.w2.weight");
  EXPECT_EQ(down.shape, (Shape{8, 6}));
  EXPECT_EQ(down.expert, 3);
  EXPECT_EQ(down.slots, std::vector<std::string>{"layers.1.moe.experts.down.weight"});
  EXPECT_EQ(layout.at("model.layers.0.block_sparse_moe.experts.0.w1.weight").slots[0],
            "layers.0.moe.experts.gate.weight");
  EXPECT_EQ(layout.at("model.layers.0.block_sparse_moe.experts.0.w3.weight").slots[0],
            "layers.0.moe.experts.up.weight");
  EXPECT_EQ(layout.at("model.layers.0.block_sparse_moe.gate.weight").shape, (Shape{4, 8}));
}

TEST(FileLayout, GraniteStacksExpertsWithGateAboveUp) {
  const Layout layout = layout_of(config_of("granitemoe"));
  const FileTensor& input = layout.at("model.layers.0.block_sparse_moe.input_linear.weight");
  EXPECT_EQ(input.shape, (Shape{4, 12, 8}));
  EXPECT_EQ(input.slots, (std::vector<std::string>{"layers.0.moe.experts.gate.weight",
                                                   "layers.0.moe.experts.up.weight"}));
  EXPECT_EQ(input.expert, -1);
  EXPECT_EQ(layout.at("model.layers.0.block_sparse_moe.output_linear.weight").shape,
            (Shape{4, 8, 6}));
  EXPECT_EQ(layout.at("model.layers.0.block_sparse_moe.router.layer.weight").shape, (Shape{4, 8}));
}

TEST(FileLayout, Gpt2FusesAttentionInputsAndTransposesMatrices) {
  const Layout layout = layout_of(config_of("gpt2"));
  EXPECT_EQ(layout.size(), 4u + 2u * 12u);
  const FileTensor& fused = layout.at("transformer.h.1.attn.c_attn.weight");
  EXPECT_EQ(fused.shape, (Shape{8, 24}));
  EXPECT_TRUE(fused.transposed);
  EXPECT_EQ(fused.slots,
            (std::vector<std::string>{"layers.1.attn.q.weight", "layers.1.attn.k.weight",
                                      "layers.1.attn.v.weight"}));
  EXPECT_EQ(layout.at("transformer.h.1.attn.c_attn.bias").shape, Shape{24});
  EXPECT_EQ(layout.at("transformer.h.0.mlp.c_fc.weight").shape, (Shape{8, 32}));
  EXPECT_EQ(layout.at("transformer.h.0.mlp.c_proj.weight").shape, (Shape{32, 8}));
  EXPECT_FALSE(layout.at("transformer.wte.weight").transposed);
  EXPECT_FALSE(layout.contains("lm_head.weight"));
}

TEST(FileLayout, AnOverlayPutsExpertsUnderTheDenseFfn) {
  const Layout layout = layout_of(overlay_of("llama"));
  std::set<std::string> expected{"model.layers.1.mlp.router.weight"};
  for (const char* place : {"experts.0", "experts.1", "experts.2", "shared"}) {
    for (const char* matrix : {"gate_proj", "up_proj", "down_proj"}) {
      expected.insert(fmt::format("model.layers.1.mlp.{}.{}.weight", place, matrix));
    }
  }
  EXPECT_EQ(names(layout, "layers.1.mlp"), expected);
  EXPECT_EQ(names(layout, "layers.0.mlp").size(), 3u);  // stays dense
  const FileTensor& up = layout.at("model.layers.1.mlp.experts.2.up_proj.weight");
  EXPECT_EQ(up.shape, (Shape{5, 8}));
  EXPECT_EQ(up.expert, 2);
  EXPECT_EQ(layout.at("model.layers.1.mlp.shared.down_proj.weight").shape, (Shape{8, 4}));
}

TEST(FileLayout, AnOverlayOfGpt2KeepsItsTransposition) {
  const Layout layout = layout_of(overlay_of("gpt2"));
  const FileTensor& up = layout.at("transformer.h.1.mlp.experts.0.c_fc.weight");
  EXPECT_EQ(up.shape, (Shape{8, 5}));
  EXPECT_TRUE(up.transposed);
  EXPECT_EQ(layout.at("transformer.h.1.mlp.experts.0.c_fc.bias").shape, Shape{5});
  EXPECT_EQ(layout.at("transformer.h.1.mlp.shared.c_proj.weight").shape, (Shape{4, 8}));
  const FileTensor& router = layout.at("transformer.h.1.mlp.router.weight");
  EXPECT_EQ(router.shape, (Shape{3, 8}));
  EXPECT_FALSE(router.transposed);
}

TEST(FileLayout, SlotsWithoutARuleAreNamed) {
  ModelSpec spec = spec_of(config_of("llama"));
  spec.position = PositionKind::learned;
  EXPECT_TRUE(support::mentions(support::error_of([&] { file_layout(spec); }),
                                {"llama", "position.weight"}));
}

}  // namespace
}  // namespace moebius
