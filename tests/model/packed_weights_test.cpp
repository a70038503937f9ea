// A model whose matrices are packed, against the same model with tensors.
#include "base/support.h"
#include "model/random_model.h"

namespace moebius {
namespace {

using kernels::PackedType;
using support::all_configs;
using support::error_of;
using support::largest_difference;
using support::logits_of;
using support::mentions;
using support::random_model;
using support::some_ids;

TEST(PackedWeights, InF32ComputeWhatTensorsDo) {
  for (const Json& config : all_configs()) {
    const Model plain = random_model(config);
    Model packed = plain;
    pack_weights(packed, PackedType::f32, 2);
    const at::InferenceMode inference;
    const at::Tensor ids = some_ids(2, 9), expected = logits_of(plain, ids);
    EXPECT_LT(largest_difference(logits_of(packed, ids), expected),
              1e-5 * expected.abs().max().item<double>())
        << config.dump();
  }
}

TEST(PackedWeights, LeaveTheOriginalAndTheEmbeddingAsTheyAre) {
  Json config = examples::llama_like("llama");
  config["tie_word_embeddings"] = true;
  const Model plain = random_model(config);
  Model packed = plain;
  pack_weights(packed, PackedType::int4, 1);
  EXPECT_FALSE(plain.weights.head.defined());
  EXPECT_EQ(plain.weights.layers[0].attn.q.packed(), nullptr);
  EXPECT_TRUE(packed.weights.embed.plain().is_same(plain.weights.embed.plain()));
  ASSERT_NE(packed.weights.head.packed(), nullptr);
  EXPECT_EQ(packed.weights.head.packed()->shape().n, packed.spec.vocab);
  EXPECT_EQ(packed.weights.layers[0].attn_norm.weight.packed(), nullptr);
}

TEST(PackedWeights, AreRefusedWhereTensorsAreNeeded) {
  Model model = random_model(examples::llama_like("llama"));
  pack_weights(model, PackedType::int8, 1);
  EXPECT_TRUE(
      mentions(error_of([&] { copy_weights(model.weights, at::kFloat, at::kCPU); }), {"packed"}));
}

TEST(PackedWeights, TakeAsManyBytesAsTheirCodesAndScales) {
  const auto backend = std::make_shared<CpuBackend>(1);
  const at::Tensor w = at::zeros({3, 64, 128});
  for (const auto& [type, bits] : {std::pair{PackedType::f32, 32.0},
                                   {PackedType::bf16, 16.0},
                                   {PackedType::int8, 8.5},
                                   {PackedType::int4, 4.5}}) {
    EXPECT_EQ(static_cast<double>(PackedWeight(w, type, 32, backend).bytes()) * 8,
              bits * static_cast<double>(w.numel()));
  }
}

}  // namespace
}  // namespace moebius
