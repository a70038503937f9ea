#include "checkpoint/checkpoint.h"

#include <nlohmann/json.hpp>

#include "base/support.h"
#include "config/examples.h"

namespace moebius {
namespace {

using examples::config_of;
using examples::spec_of;
using support::error_of;
using support::mentions;
using support::TempDir;

/// Tensors that a test writes: values counted up from `first`.
struct TestTensor {
  Shape shape;
  float first = 0;
  DType dtype = DType::f32;
};
using TestTensors = std::map<std::string, TestTensor>;

std::string file_of(const TestTensors& tensors) {
  std::vector<TensorPlan> plans;
  std::string data;
  for (const auto& [name, tensor] : tensors) {
    const auto count = static_cast<std::size_t>(element_count(tensor.shape));
    std::vector<std::byte> bytes(count * size_of(tensor.dtype));
    for (std::size_t i = 0; i < count && is_weight_dtype(tensor.dtype); ++i) {
      store_weight(bytes.data(), tensor.dtype, i, tensor.first + static_cast<float>(i));
    }
    plans.push_back({name, tensor.dtype, tensor.shape, data.size(), bytes.size()});
    data.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  return safetensors_header(plans) + data;
}

class OpenCheckpoint : public ::testing::Test {
 protected:
  void start(const Json& config, ExpertLayout layout = ExpertLayout::usual) {
    config_ = config;
    tensors_.clear();
    ModelSpec spec = spec_of(config);
    spec.expert_layout = layout;
    float first = 0;
    for (const FileTensor& tensor : file_layout(spec)) {
      tensors_[tensor.name] = {tensor.shape, first += 100};
    }
  }
  Checkpoint open() {
    write();
    ::testing::internal::CaptureStderr();
    Checkpoint opened = open_checkpoint(dir_.path(), Log(LogLevel::warn));
    warnings_ = ::testing::internal::GetCapturedStderr();
    return opened;
  }
  std::string error() {
    write();
    return error_of([&] { open_checkpoint(dir_.path(), Log(LogLevel::off)); });
  }
  void write() {
    dir_.write("config.json", config_.dump());
    dir_.write("model.safetensors", file_of(tensors_));
  }
  /// The tensor that holds `slot`.
  static const TensorEntry& found(const Checkpoint& opened, const std::string& slot) {
    for (const BoundTensor& tensor : opened.bound) {
      if (tensor.wanted.slots[0] == slot) return *tensor.found;
    }
    fail("no tensor holds {}", slot);
  }

  TempDir dir_;
  Json config_;
  TestTensors tensors_;
  std::string warnings_;
};

// ---- Tied embeddings ---------------------------------------------------------------------------

TEST_F(OpenCheckpoint, AStoredHeadThatDiffersIsKeptUntiedWithOneWarning) {
  for (const char* family : {"llama", "gpt2", "opt"}) {
    start(config_of(family));
    config_["tie_word_embeddings"] = true;
    tensors_["lm_head.weight"] = {{16, 8}, 7};
    const Checkpoint opened = open();
    EXPECT_FALSE(opened.spec.tied);
    EXPECT_EQ(found(opened, "head.weight").name, "lm_head.weight");
    EXPECT_TRUE(mentions(warnings_, {"tie_word_embeddings", "lm_head.weight", "untied"}));
    EXPECT_EQ(std::count(warnings_.begin(), warnings_.end(), '\n'), 1);
    EXPECT_EQ(carried_config(config_, opened.spec)["tie_word_embeddings"], false);
  }
}

TEST_F(OpenCheckpoint, AnEqualHeadIsTheEmbeddingInAnyDtype) {
  start(config_of("llama"));
  config_["tie_word_embeddings"] = true;
  for (const DType dtype : {DType::f32, DType::bf16}) {
    tensors_["model.embed_tokens.weight"] = {{16, 8}, 3};  // whole numbers: exact in bf16
    tensors_["lm_head.weight"] = {{16, 8}, 3, dtype};
    EXPECT_TRUE(open().spec.tied);
    EXPECT_EQ(warnings_, "");
  }
}

TEST_F(OpenCheckpoint, ATiedModelMayStoreTheHeadAlone) {
  start(config_of("llama"));
  config_["tie_word_embeddings"] = true;
  tensors_.erase("model.embed_tokens.weight");
  const Checkpoint opened = open();
  EXPECT_TRUE(opened.spec.tied);
  EXPECT_EQ(found(opened, "embed.weight").name, "lm_head.weight");
  tensors_.erase("lm_head.weight");
  EXPECT_TRUE(mentions(error(), {"model.embed_tokens.weight", "missing"}));
}

// ---- How the source is stored ------------------------------------------------------------------

TEST_F(OpenCheckpoint, StorageKeysBesidePlainWeightsAreIgnoredAndNotCarried) {
  for (const char* key : {"quantization_config", "compression_config", "quantization"}) {
    start(config_of("llama"));
    config_[key] = {{"quant_method", "gptq"}, {"bits", 4}};
    const Checkpoint opened = open();
    EXPECT_TRUE(mentions(warnings_, {"quantised", "gptq", "plain"}));
    Json without = config_;
    without.erase(key);
    EXPECT_EQ(carried_config(config_, opened.spec), without);
  }
}

TEST_F(OpenCheckpoint, QuantisedWeightsAreRefusedByName) {
  const std::string q = "model.layers.0.self_attn.q_proj.";
  const std::pair<std::string, std::string> marks[] = {
      {q + "qweight", "GPTQ or AWQ"},  {q + "weight.absmax", "bitsandbytes"},
      {q + "SCB", "bitsandbytes"},     {q + "weight_packed", "compressed-tensors"},
      {q + "weight_scale_inv", "FP8"}, {q + "W_q", "HQQ"}};
  for (const auto& [name, method] : marks) {
    start(config_of("llama"));
    tensors_[name] = {{2}};
    EXPECT_TRUE(mentions(error(), {"quantised (" + method + ")", name})) << name;
    config_["quantization_config"] = {{"quant_method", "awq"}};
    EXPECT_TRUE(mentions(error(), {"quantised (awq)", name})) << name;
  }
  start(config_of("llama"));
  config_["quantization_config"] = {{"quant_method", "bitsandbytes"}};
  tensors_[q + "weight"] = {{8, 8}, 0, DType::i8};
  EXPECT_TRUE(mentions(error(), {"quantised (bitsandbytes)", q + "weight"}));
}

TEST_F(OpenCheckpoint, AnAbsentDtypeIsThatOfTheWeights) {
  start(config_of("llama"));
  for (auto& [name, tensor] : tensors_) tensor.dtype = DType::bf16;
  EXPECT_EQ(open().spec.dtype, DType::bf16);
  config_["torch_dtype"] = "float16";
  EXPECT_EQ(open().spec.dtype, DType::f16);
  config_["dtype"] = "float32";
  EXPECT_EQ(open().spec.dtype, DType::f32);
}

// ---- Ids that end a text -----------------------------------------------------------------------

TEST_F(OpenCheckpoint, EosIdsOfTheConfigurationThatGenerationLacksAreNamedOnce) {
  start(config_of("llama"));
  config_["eos_token_id"] = 2;
  dir_.write("generation_config.json", R"({"eos_token_id": [3, 2]})");
  EXPECT_EQ(open().spec.eos, (std::vector<std::int64_t>{3, 2}));
  EXPECT_EQ(warnings_, "");
  dir_.write("generation_config.json", R"({"eos_token_id": 3})");
  EXPECT_EQ(open().spec.eos, std::vector<std::int64_t>{3});
  EXPECT_TRUE(mentions(warnings_, {"generation_config.json has eos_token_id 3"}));
  dir_.write("generation_config.json", "{}");
  EXPECT_FALSE(open().spec.stops_at_eos);
  EXPECT_TRUE(mentions(warnings_, {"generation_config.json has no eos_token_id"}));
}

// ---- Experts in one tensor ---------------------------------------------------------------------

const std::vector<std::string> mixtures{"mixtral", "granitemoe",  "qwen2_moe",  "qwen3_moe",
                                        "olmoe",   "deepseek_v2", "deepseek_v3"};

TEST_F(OpenCheckpoint, FusedExpertsOfEveryFamilyAreBound) {
  for (const std::string& family : mixtures) {
    start(config_of(family), ExpertLayout::fused);
    const Checkpoint opened = open();
    const TensorEntry& gate_up = found(opened, "layers.0.moe.experts.gate.weight");
    EXPECT_EQ(gate_up.shape, (Shape{4, 12, 8})) << family;
    EXPECT_EQ(gate_up.owned, nullptr) << "a view of the file, " << family;
    EXPECT_EQ(found(opened, "layers.0.moe.experts.down.weight").shape, (Shape{4, 8, 6})) << family;
    EXPECT_EQ(warnings_, "");
  }
}

TEST_F(OpenCheckpoint, TransposedExpertsAreBroughtIntoTheUsualOrder) {
  start(config_of("qwen3_moe"), ExpertLayout::fused);
  const std::string experts = "model.layers.1.mlp.experts.";
  for (auto& [name, tensor] : tensors_) {
    if (tensor.shape.size() == 3) std::swap(tensor.shape[1], tensor.shape[2]);
  }
  const float first = tensors_.at(experts + "down_proj").first;
  const Checkpoint opened = open();
  const TensorEntry& down = found(opened, "layers.1.moe.experts.down.weight");
  ASSERT_EQ(down.shape, (Shape{4, 8, 6}));
  for (std::size_t e = 0; e < 4; ++e) {
    for (std::size_t d = 0; d < 8; ++d) {
      for (std::size_t f = 0; f < 6; ++f) {
        EXPECT_EQ(load_weight(down.data, down.dtype, (e * 8 + d) * 6 + f),
                  first + static_cast<float>((e * 6 + f) * 8 + d));
      }
    }
  }
}

TEST_F(OpenCheckpoint, OneTransposedTensorAmongOthersIsMisshapen) {
  start(config_of("mixtral"), ExpertLayout::fused);
  Shape& shape = tensors_.at("model.layers.1.mlp.experts.down_proj").shape;
  std::swap(shape[1], shape[2]);
  EXPECT_TRUE(mentions(error(), {"gate_up_proj", "[4, 8, 12]", "[4, 12, 8]"}));
}

TEST_F(OpenCheckpoint, AMissingHalfOfFusedExpertsIsNamed) {
  start(config_of("olmoe"), ExpertLayout::fused);
  tensors_.erase("model.layers.1.mlp.experts.down_proj");
  EXPECT_TRUE(mentions(error(), {"model.layers.1.mlp.experts.0.down_proj.weight", "missing"}));
}

TEST_F(OpenCheckpoint, GraniteHasItsOldAndItsNewNames) {
  start(config_of("granitemoe"));
  for (const std::string layer : {"model.layers.0.", "model.layers.1."}) {
    const auto rename = [&](const std::string& from, const std::string& to) {
      auto node = tensors_.extract(layer + "block_sparse_moe." + from);
      node.key() = layer + "block_sparse_moe." + to;
      tensors_.insert(std::move(node));
    };
    rename("input_linear.weight", "experts.gate_up_proj");
    rename("output_linear.weight", "experts.down_proj");
    rename("router.layer.weight", "router.weight");
  }
  EXPECT_EQ(found(open(), "layers.1.moe.router.weight").name,
            "model.layers.1.block_sparse_moe.router.weight");
}

// ---- Configurations of outputs -----------------------------------------------------------------

TEST(CarriedConfig, IsTheSourcesTextWhereNothingChanges) {
  const std::string text = config_of("llama").dump(1);
  EXPECT_EQ(carried_config(text, "c", spec_of(config_of("llama"))), text);
}

TEST(HasWeights, KnowsAllFormatsAndIndices) {
  const TempDir dir;
  EXPECT_FALSE(has_weights(dir.path()));
  for (const char* name : {"model.safetensors", "model.safetensors.index.json", "pytorch_model.bin",
                           "pytorch_model.bin.index.json", "model.gguf"}) {
    dir.write(name, "x");
    EXPECT_TRUE(has_weights(dir.path())) << name;
    fs::remove(dir.path() / name);
  }
}

}  // namespace
}  // namespace moebius
