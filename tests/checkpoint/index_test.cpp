#include "checkpoint/index.h"

#include <nlohmann/json.hpp>

#include "checkpoint/raw_file.h"
#include "config/examples.h"

namespace moebius {
namespace {

using examples::spec_of;
using support::error_of;
using support::f32_file;
using support::mentions;
using support::raw_safetensors;
using support::TempDir;

class Index : public ::testing::Test {
 protected:
  void write_index(const Json& weight_map) {
    dir_.write("model.safetensors.index.json", Json{{"weight_map", weight_map}}.dump());
  }
  std::string error() {
    return error_of([&] { CheckpointIndex::open(dir_.path()); });
  }
  TempDir dir_;
};

TEST_F(Index, OpensAllShardsAndFindsByName) {
  dir_.write("s1.safetensors", f32_file({{"b", {2}}}));
  dir_.write("s2.safetensors", f32_file({{"a", {3}}, {"c", {1}}}));
  write_index({{"a", "s2.safetensors"}, {"b", "s1.safetensors"}, {"c", "s2.safetensors"}});
  const auto index = CheckpointIndex::open(dir_.path());
  ASSERT_EQ(index.tensors().size(), 3u);
  EXPECT_EQ(index.tensors()[0].name, "b");
  EXPECT_EQ(index.files().size(), 2u);
  EXPECT_EQ(index.files()[1]->path().filename(), "s2.safetensors");
  EXPECT_EQ(index.find("a")->shape, Shape{3});
  EXPECT_EQ(index.find("d"), nullptr);
  EXPECT_EQ(index.bytes(), 24u);
}

TEST_F(Index, AnAbsentShardIsNamed) {
  dir_.write("s1.safetensors", f32_file({{"a", {2}}}));
  write_index({{"a", "s1.safetensors"}, {"b", "s2.safetensors"}});
  EXPECT_TRUE(mentions(error(), {"index.json", "s2.safetensors is absent"}));
}

TEST_F(Index, FilesOutsideTheDirectoryAreRefused) {
  for (const char* file : {"../x.safetensors", "/etc/passwd", "a/b", "..", ".", ""}) {
    write_index({{"a", file}});
    EXPECT_TRUE(mentions(error(), {"index.json", "\"a\"", "not to a file beside"})) << file;
  }
}

TEST_F(Index, ATensorInAnotherShardThanClaimedIsNamed) {
  dir_.write("s1.safetensors", f32_file({{"a", {2}}}));
  dir_.write("s2.safetensors", f32_file({{"b", {2}}}));
  write_index({{"a", "s2.safetensors"}, {"b", "s1.safetensors"}});
  EXPECT_TRUE(mentions(error(), {"tensor a is not in s2.safetensors"}));
  write_index({{"a", "s1.safetensors"}, {"z", "s1.safetensors"}});
  EXPECT_TRUE(mentions(error(), {"tensor z is not in s1.safetensors"}));
}

TEST_F(Index, ATensorInTwoShardsIsNamed) {
  dir_.write("s1.safetensors", f32_file({{"a", {2}}}));
  dir_.write("s2.safetensors", f32_file({{"a", {2}}, {"b", {1}}}));
  write_index({{"a", "s1.safetensors"}, {"b", "s2.safetensors"}});
  EXPECT_TRUE(mentions(error(), {"tensor a", "s1.safetensors"}));
}

TEST_F(Index, MalformedIndicesNameTheFile) {
  const auto expect = [&](const std::string& text) {
    dir_.write("model.safetensors.index.json", text);
    EXPECT_TRUE(mentions(error(), {"model.safetensors.index.json"})) << text;
  };
  expect("{");
  expect("[]");
  expect("{}");
  expect(R"({"weight_map": []})");
  expect(R"({"weight_map": {}})");
  expect(R"({"weight_map": {"a": 1}})");
}

TEST_F(Index, ADirectoryWithoutWeightsSaysWhatIsMissing) {
  EXPECT_TRUE(mentions(error(), {dir_.path().string(), "model.safetensors"}));
  dir_.write("pytorch_model.bin", "x");
  EXPECT_TRUE(mentions(error(), {"pytorch_model.bin", "not a file of torch.save"}));
}

TEST_F(Index, SafetensorsGoFirst) {
  dir_.write("pytorch_model.bin", "x");
  dir_.write("model.safetensors", f32_file({{"a", {2}}}));
  EXPECT_NE(CheckpointIndex::open(dir_.path()).find("a"), nullptr);
}

// ---- What a model asks for, and what is there ---------------------------------------------------

class Bind : public ::testing::Test {
 protected:
  /// The tensors of a model as its layout has them; tests change what they are about.
  explicit Bind(const Json& config = examples::llama_like("llama")) : spec_(spec_of(config)) {
    for (const FileTensor& tensor : file_layout(spec_)) tensors_[tensor.name] = tensor.shape;
  }
  std::string error() {
    const std::vector<std::pair<std::string, Shape>> list(tensors_.begin(), tensors_.end());
    dir_.write("model.safetensors", f32_file(list));
    return error_of([&] { bind_checkpoint(spec_, CheckpointIndex::open(dir_.path())); });
  }
  ModelSpec spec_;
  std::map<std::string, Shape> tensors_;
  TempDir dir_;
};

class BindGpt2 : public Bind {
 protected:
  BindGpt2() : Bind(examples::gpt2()) {}
};

TEST_F(Bind, FindsEveryTensorOfTheLayout) {
  ASSERT_EQ(error(), "no error");
  const auto index = CheckpointIndex::open(dir_.path());
  const auto bound = bind_checkpoint(spec_, index);
  ASSERT_EQ(bound.size(), tensors_.size());
  for (const BoundTensor& each : bound) EXPECT_EQ(each.found, index.find(each.wanted.name));
}

TEST_F(Bind, AMissingTensorIsNamedWithItsShape) {
  tensors_.erase("model.layers.1.mlp.up_proj.weight");
  EXPECT_TRUE(mentions(error(), {"model.layers.1.mlp.up_proj.weight [6, 8] is missing"}));
}

TEST_F(Bind, AMisshapenTensorIsNamedWithBothShapes) {
  tensors_["model.layers.0.self_attn.k_proj.weight"] = {8, 4};
  EXPECT_TRUE(
      mentions(error(), {"model.safetensors", "self_attn.k_proj.weight", "[8, 4]", "[4, 8]"}));
}

TEST_F(Bind, ATensorOfNoPartIsNamed) {
  tensors_["model.layers.0.mlp.extra.weight"] = {2};
  EXPECT_TRUE(
      mentions(error(), {"model.layers.0.mlp.extra.weight [2]", "no part of a llama model"}));
  tensors_.erase("model.layers.0.mlp.extra.weight");
  tensors_["model.layers.0.self_attn.q_proj.bias"] = {8};  // the configuration has no biases
  EXPECT_TRUE(mentions(error(), {"self_attn.q_proj.bias"}));
}

TEST_F(Bind, WeightsMustBeFloats) {
  std::string header = "{";
  std::size_t at = 0;
  for (const auto& [name, shape] : tensors_) {
    const auto bytes = static_cast<std::size_t>(element_count(shape)) * 4;
    header += fmt::format(R"({}"{}":{{"dtype":"{}","shape":{},"data_offsets":[{},{}]}})",
                          at > 0 ? "," : "", name, name == "model.norm.weight" ? "I32" : "F32",
                          to_string(shape), at, at + bytes);
    at += bytes;
  }
  dir_.write("model.safetensors", raw_safetensors(header + "}", std::string(at, '\0')));
  EXPECT_TRUE(
      mentions(error_of([&] { bind_checkpoint(spec_, CheckpointIndex::open(dir_.path())); }),
               {"model.norm.weight", "I32"}));
}

TEST_F(Bind, IgnoredNamesArePassedOver) {
  tensors_["model.layers.0.self_attn.rotary_emb.inv_freq"] = {2};
  EXPECT_EQ(error(), "no error");
}

TEST_F(Bind, ThePrefixMayBeLeftOut) {
  std::map<std::string, Shape> short_names;
  for (const auto& [name, shape] : tensors_) {
    short_names[name.starts_with("model.") ? name.substr(6) : name] = shape;
  }
  tensors_ = short_names;
  EXPECT_EQ(error(), "no error");
}

TEST_F(Bind, AStoredTiedHeadIsIgnoredAndAnUntiedOneIsNeeded) {
  spec_.tied = true;
  EXPECT_EQ(error(), "no error");
  tensors_.erase("lm_head.weight");
  EXPECT_EQ(error(), "no error");
  spec_.tied = false;
  EXPECT_TRUE(mentions(error(), {"lm_head.weight", "is missing"}));
}

TEST_F(BindGpt2, MasksOfOldCheckpointsArePassedOverWithAndWithoutPrefix) {
  for (const char* name : {"h.0.attn.bias", "transformer.h.1.attn.bias", "h.1.attn.masked_bias"}) {
    tensors_[name] = {1};
  }
  EXPECT_EQ(error(), "no error");
  tensors_["h.0.attn.c_attn.bias.extra"] = {1};
  EXPECT_TRUE(mentions(error(), {"h.0.attn.c_attn.bias.extra"}));
}

TEST_F(BindGpt2, AMatrixStoredUntransposedIsMisshapen) {
  tensors_["transformer.h.0.attn.c_attn.weight"] = {24, 8};
  EXPECT_TRUE(mentions(error(), {"c_attn.weight", "[24, 8]", "[8, 24]"}));
}

}  // namespace
}  // namespace moebius
