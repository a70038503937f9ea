#include "model/load.h"

#include "base/support.h"
#include "checkpoint/writer.h"
#include "model/random_model.h"

namespace moebius {
namespace {

using examples::llama_like;
using support::all_configs;
using support::error_of;
using support::mentions;
using support::random_model;
using support::TempDir;

void write(const TempDir& dir, const Json& config, const Model& model, DType dtype,
           std::size_t max_shard = SIZE_MAX) {
  dir.write("config.json", config.dump());
  save_weights(model.spec, model.weights, dtype, dir.path(), max_shard);
}

/// Every weight of `loaded` is that of `model`, bit for bit, in `dtype` after it was `stored`; what
/// is no parameter stays in f32.
void expect_equal(const Weights& loaded, const Weights& model, at::ScalarType dtype,
                  at::ScalarType stored = at::kFloat) {
  for_each_weight(
      [&](const std::string& slot, const at::Tensor& a, const at::Tensor& b) {
        ASSERT_EQ(a.defined(), b.defined()) << slot;
        if (!a.defined()) return;
        const at::Tensor expected = is_buffer(slot) ? b : b.to(stored).to(dtype);
        EXPECT_EQ(a.scalar_type(), expected.scalar_type()) << slot;
        EXPECT_TRUE(at::equal(a, expected)) << slot;
      },
      loaded, model);
}

TEST(SaveAndLoad, IsBitIdenticalForAllFamilies) {
  for (const Json& config : all_configs()) {
    const Model model = random_model(config);
    const TempDir dir;
    write(dir, config, model, DType::f32);
    const Model loaded = load_model(dir.path(), std::nullopt, at::kCPU);
    expect_equal(loaded.weights, model.weights, at::kFloat);
    const at::Tensor ids = support::some_ids(1, 7);
    // GPT-2's matrices come back as transposed views, which are summed in another order.
    EXPECT_LT(support::largest_difference(support::logits_of(loaded, ids),
                                          support::logits_of(model, ids)),
              1e-5);
  }
}

TEST(SaveAndLoad, Bf16StaysBf16AndF16WidensToF32) {
  for (const Json& config : all_configs()) {
    const Model model = random_model(config);
    const TempDir bf16, f16;
    write(bf16, config, model, DType::bf16);
    expect_equal(load_model(bf16.path(), std::nullopt, at::kCPU).weights, model.weights,
                 at::kBFloat16);
    write(f16, config, model, DType::f16);
    expect_equal(load_model(f16.path(), std::nullopt, at::kCPU).weights, model.weights, at::kFloat,
                 at::kHalf);
  }
}

TEST(SaveAndLoad, ManyShardsHoldTheSameModel) {
  for (const Json& config : all_configs()) {
    const Model model = random_model(config);
    const TempDir dir;
    write(dir, config, model, DType::f32, 500);
    EXPECT_TRUE(fs::exists(dir.path() / "model.safetensors.index.json"));
    expect_equal(load_model(dir.path(), std::nullopt, at::kCPU).weights, model.weights, at::kFloat);
  }
}

TEST(LoadModel, ConvertsToTheDtypeAskedFor) {
  const Json config = llama_like("llama");
  const Model model = random_model(config);
  const TempDir dir;
  write(dir, config, model, DType::f32);
  expect_equal(load_model(dir.path(), DType::bf16, at::kCPU).weights, model.weights, at::kBFloat16);
}

// ---- Views of mapped files ---------------------------------------------------------------------

/// Whether `tensor` lies in one of the index's files.
bool lies_in(const at::Tensor& tensor, const CheckpointIndex& index) {
  const auto* data = static_cast<const std::byte*>(tensor.const_data_ptr());
  for (const auto& file : index.files()) {
    const auto bytes = file->bytes();
    if (data >= bytes.data() && data < bytes.data() + bytes.size()) return true;
  }
  return false;
}

TEST(MapWeights, AreViewsOfTheFilesInAllFamilies) {
  for (const Json& config : all_configs()) {
    const Model model = random_model(config);
    const TempDir dir;
    write(dir, config, model, DType::bf16);
    const auto index = CheckpointIndex::open(dir.path());
    const Weights mapped = map_weights(model.spec, index);
    const auto check = [&](const std::string& slot, const at::Tensor& weight) {
      if (!weight.defined()) return;
      EXPECT_TRUE(lies_in(weight, index)) << slot << " of " << config.dump();
    };
    for_each_weight(check, mapped);
  }
}

TEST(MapWeights, KeepTheirMappingAlive) {
  const Json config = llama_like("mixtral");
  const Model model = random_model(config);
  const TempDir dir;
  write(dir, config, model, DType::f32);
  const Weights mapped = map_weights(model.spec, CheckpointIndex::open(dir.path()));
  fs::remove(dir.path() / "model.safetensors");
  expect_equal(mapped, model.weights, at::kFloat);
}

/// Writes `model` with its tensors in another order.
template <class Less>
void write_sorted(const TempDir& dir, const Model& model, Less less, std::size_t max_shard) {
  const TempDir plain;
  save_weights(model.spec, model.weights, DType::f32, plain.path(), SIZE_MAX);
  const auto index = CheckpointIndex::open(plain.path());
  std::vector<TensorEntry> entries = index.tensors();
  std::sort(entries.begin(), entries.end(), less);
  std::vector<TensorMeta> metas;
  for (const TensorEntry& entry : entries) metas.push_back({entry.name, entry.dtype, entry.shape});
  ShardedWriter writer(dir.path(), metas, max_shard);
  for (std::size_t t = 0; t < entries.size(); ++t) {
    writer.write(t, {entries[t].data, entries[t].bytes});
  }
  writer.finish();
}

TEST(MapWeights, ExpertByExpertAsHuggingFaceWritesThemIsAViewToo) {
  const Model model = random_model(llama_like("mixtral"));
  const TempDir dir;
  write_sorted(
      dir, model, [](const auto& a, const auto& b) { return a.name < b.name; }, SIZE_MAX);
  const auto index = CheckpointIndex::open(dir.path());
  const Weights mapped = map_weights(model.spec, index);
  expect_equal(mapped, model.weights, at::kFloat);
  const Ffn& experts = mapped.layers[1].moe()->experts;
  EXPECT_TRUE(lies_in(experts.up, index));
  EXPECT_EQ(experts.up.plain().stride(0),
            3 * 6 * 8);  // w1, w2 and w3 of one expert after the other
}

TEST(MapWeights, ExpertsAtUnequalDistancesAreCopiedRight) {
  Json config = llama_like("mixtral");
  config["num_local_experts"] = 12;  // by name, experts.10 comes before experts.2
  const Model model = random_model(config);
  const TempDir dir;
  write_sorted(
      dir, model, [](const auto& a, const auto& b) { return a.name < b.name; }, SIZE_MAX);
  const auto index = CheckpointIndex::open(dir.path());
  const Weights mapped = map_weights(model.spec, index);
  expect_equal(mapped, model.weights, at::kFloat);
  EXPECT_FALSE(lies_in(mapped.layers[0].moe()->experts.up, index));
}

TEST(MapWeights, ExpertsInSeveralShardsOrBackwardsAreRight) {
  const Model model = random_model(llama_like("mixtral"));
  for (const std::size_t limit : {std::size_t{300}, SIZE_MAX}) {
    const TempDir dir;
    write_sorted(
        dir, model, [](const auto& a, const auto& b) { return a.name > b.name; }, limit);
    expect_equal(map_weights(model.spec, CheckpointIndex::open(dir.path())), model.weights,
                 at::kFloat);
  }
}

TEST(CopyWeights, ArePrivateAndContiguous) {
  const Json config = examples::gpt2();
  const TempDir dir;
  write(dir, config, random_model(config), DType::f32);
  const Model loaded = load_model(dir.path(), std::nullopt, at::kCPU);
  const at::Tensor before = loaded.weights.layers[0].attn.q.plain().clone();
  Weights copy = copy_weights(loaded.weights, at::kFloat, at::kCPU);
  EXPECT_TRUE(copy.layers[0].attn.q.plain().is_contiguous());
  copy.layers[0].attn.q.plain().fill_(7);
  EXPECT_TRUE(at::equal(loaded.weights.layers[0].attn.q, before));
}

// ---- Fresh weights -----------------------------------------------------------------------------

TEST(InitWeights, TheSameSeedGivesTheSameWeightsAndAnotherGivesOthers) {
  const ModelSpec spec = examples::spec_of(examples::overlay_of("gpt2"));
  const Weights a = init_weights(spec, 3), b = init_weights(spec, 3), c = init_weights(spec, 4);
  expect_equal(a, b, at::kFloat);
  EXPECT_FALSE(at::equal(a.embed, c.embed));
  EXPECT_FALSE(at::equal(a.layers[0].attn.q, a.layers[1].attn.q));
}

TEST(InitWeights, DeviationsFollowTheConfiguration) {
  Json config = llama_like("llama");
  config.update({{"vocab_size", 512},
                 {"hidden_size", 128},
                 {"intermediate_size", 256},
                 {"num_hidden_layers", 8},
                 {"initializer_range", 0.05},
                 {"mlp_bias", true}});
  const Weights w = init_weights(examples::spec_of(config), 1);
  const auto deviation = [](const at::Tensor& t) { return t.std().item<double>(); };
  const auto& ffn = std::get<Ffn>(w.layers[3].ffn);
  EXPECT_NEAR(deviation(w.embed), 0.05, 0.001);
  EXPECT_NEAR(deviation(ffn.up), 0.05, 0.001);
  EXPECT_NEAR(deviation(ffn.down), 0.05 / 4, 0.0005);  // 2 x 8 layers write into the stream
  EXPECT_NEAR(deviation(w.layers[3].attn.o), 0.05 / 4, 0.0005);
  EXPECT_TRUE(at::equal(w.layers[3].attn_norm.weight, at::ones(128)));
  EXPECT_TRUE(at::equal(ffn.up_bias, at::zeros(256)));
}

TEST(WeightBytes, CountsParameters) {
  const ModelSpec spec = examples::spec_of(llama_like("llama"));
  EXPECT_EQ(weight_bytes(spec, DType::bf16), 2 * model_cost(spec).parameters);
}

TEST(Dtypes, GoToLibtorchAndBackAndOthersAreErrors) {
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    EXPECT_EQ(from_torch(to_torch(dtype)), dtype);
  }
  EXPECT_TRUE(mentions(error_of([] { to_torch(DType::i32); }), {"i32"}));
  EXPECT_NE(error_of([] { from_torch(at::kLong); }), "no error");
}

}  // namespace
}  // namespace moebius
