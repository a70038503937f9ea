// Models that are ready to generate: packed for the CPU's kernels, and as tensors.
#include "infer/backends/inference_model.h"

#include "base/support.h"
#include "infer/backends/support.h"
#include "model/cpu_model.h"
#include "model/random_model.h"

namespace moebius {
namespace {

using kernels::PackedType;
using support::all_configs;
using support::copy_of;
using support::error_of;
using support::Ids;
using support::in_pieces;
using support::largest_difference;
using support::logits_of;
using support::mentions;
using support::random_model;
using support::some_ids;

at::Tensor expected_scores(const Model& model, const Ids& ids) {
  const at::InferenceMode inference;
  return logits_of(model, ids_tensor(ids))[0];
}

TEST(PackedInference, InF32ComputesWhatTensorsDo) {
  const Ids ids = some_ids(12);
  for (const Json& config : all_configs()) {
    const Model plain = random_model(config);
    const at::Tensor expected = expected_scores(plain, ids);
    const double tolerance = 1e-5 * expected.abs().max().item<double>();
    const auto packed = packed_inference(plain, PackedType::f32, 2);
    EXPECT_LT(largest_difference(in_pieces(*packed, ids, {12}), expected), tolerance)
        << config.dump();
    const auto tensors = tensor_inference(plain);
    EXPECT_LT(largest_difference(in_pieces(*tensors, ids, {12}), expected), tolerance);
    EXPECT_LT(largest_difference(in_pieces(*tensors, ids, {5, 1, 6}), expected), tolerance);
  }
}

TEST(PackedInference, BitsDependNeitherOnPiecesNorThreadsNorOtherSequences) {
  const Ids ids = some_ids(12), other = some_ids(7, 9);
  for (const Json& config : all_configs()) {
    for (const PackedType type : {PackedType::f32, PackedType::int8}) {
      const Model plain = random_model(config);
      const auto model = packed_inference(plain, type, 2);
      const at::Tensor whole = in_pieces(*model, ids, {12});
      EXPECT_TRUE(at::equal(in_pieces(*model, ids, std::vector<std::size_t>(12, 1)), whole))
          << config.dump();
      EXPECT_TRUE(at::equal(in_pieces(*packed_inference(plain, type, 1), ids, {4, 1, 7}), whole));
      const auto a = model->make_cache(), b = model->make_cache();
      const std::int64_t vocab = plain.spec.vocab;
      const SequencePart first[] = {{a.get(), std::span(ids).first(8), Scores::none},
                                    {b.get(), other, Scores::last}};
      const at::Tensor of_other = copy_of(model->run(first), vocab);
      EXPECT_TRUE(at::equal(of_other[0], in_pieces(*model, other, {7})[6]));
      const SequencePart second[] = {{b.get(), std::span(ids).first(1), Scores::last},
                                     {a.get(), std::span(ids).subspan(8), Scores::all}};
      EXPECT_TRUE(
          at::equal(copy_of(model->run(second), vocab).narrow(0, 1, 4), whole.narrow(0, 8, 4)));
    }
  }
}

TEST(PackedInference, KeysAndValuesInInt8ComeCloseAndDoNotDependOnPieces) {
  const Ids ids = some_ids(12);
  for (const Json& config : all_configs()) {
    const Model plain = random_model(config);
    const auto model = packed_inference(plain, PackedType::f32, 2, PackedType::int8);
    const auto exact = packed_inference(plain, PackedType::f32, 2);
    EXPECT_LT(2 * model->cache_bytes(64), exact->cache_bytes(64)) << config.dump();
    const at::Tensor whole = in_pieces(*model, ids, {12}), expected = in_pieces(*exact, ids, {12});
    EXPECT_TRUE(at::equal(in_pieces(*model, ids, {4, 1, 7}), whole)) << config.dump();
    const double off = ((whole - expected).norm() / expected.norm()).item<double>();
    // Where routers turn little into much, one of these tokens may go elsewhere.
    const bool routed = std::any_of(plain.spec.layers.begin(), plain.spec.layers.end(),
                                    [](const LayerSpec& layer) { return layer.moe.has_value(); });
    EXPECT_LT(off, routed ? 0.2 : 0.02) << config.dump();
    EXPECT_GT(off, 0) << config.dump();
  }
}

TEST(PackedInference, ACacheThatWasCutGoesOnAsIfNothingHadBeen) {
  Json config = examples::llama_like("mixtral");
  config["max_position_embeddings"] = 300;
  const auto model = packed_inference(random_model(config), PackedType::bf16, 2);
  const Ids ids = some_ids(200), other = some_ids(150, 4);
  const at::Tensor whole = in_pieces(*model, ids, {200});
  const auto cache = model->make_cache();
  const SequencePart start[] = {{cache.get(), std::span(ids).first(100), Scores::none}};
  EXPECT_TRUE(model->run(start).empty());
  const SequencePart astray[] = {{cache.get(), other, Scores::none}};
  model->run(astray);
  cache->truncate(100);
  EXPECT_EQ(cache->length(), 100);
  const SequencePart rest[] = {{cache.get(), std::span(ids).subspan(100), Scores::all}};
  EXPECT_TRUE(at::equal(copy_of(model->run(rest), model->spec().vocab), whole.narrow(0, 100, 100)));
}

TEST(Inference, AForkAndItsSourceDoNotDisturbEachOther) {
  Json config = examples::llama_like("mixtral");
  config["max_position_embeddings"] = 300;
  const Model plain = random_model(config);
  const Ids ids = some_ids(180), other = some_ids(60, 4), third = some_ids(60, 7);
  const auto models = {packed_inference(plain, PackedType::f32, 2),
                       packed_inference(plain, PackedType::f32, 2, PackedType::int8),
                       tensor_inference(plain)};
  for (const auto& model : models) {
    const std::int64_t vocab = model->spec().vocab;
    const auto extend = [&](SequenceCache& cache, std::span<const std::int32_t> more) {
      const SequencePart part{&cache, more, Scores::all};
      return copy_of(model->run({&part, 1}), vocab);
    };
    // The scores of `more` after the first `length` of ids, computed without a fork.
    const auto expected = [&](std::size_t length, const Ids& more) {
      const auto cache = model->make_cache();
      extend(*cache, std::span(ids).first(length));
      return extend(*cache, more);
    };
    const auto same = [&](const at::Tensor& found, const at::Tensor& wanted) {
      return largest_difference(found, wanted) < 1e-5;
    };
    const auto source = model->make_cache();
    extend(*source, std::span(ids).first(100));
    const auto a = source->fork(100), b = source->fork(80);
    EXPECT_EQ(a->length(), 100);
    EXPECT_EQ(b->length(), 80);
    const at::Tensor whole = expected(100, Ids(ids.begin() + 100, ids.begin() + 160));
    EXPECT_TRUE(same(extend(*a, other), expected(100, other)));
    EXPECT_TRUE(same(extend(*source, std::span(ids).subspan(100, 60)), whole));
    EXPECT_TRUE(same(extend(*b, third), expected(80, third)));
    // The source returns to before what a fork of it shares, and writes there.
    const auto c = source->fork(160);
    source->truncate(130);
    EXPECT_TRUE(same(extend(*source, other), expected(130, other)));
    EXPECT_TRUE(same(extend(*c, third), expected(160, third)));
    a->truncate(100);
    EXPECT_TRUE(same(extend(*a, third), expected(100, third)));
  }
}

TEST(PackedInference, PagesThatAreSharedCountOnce) {
  Json config = examples::llama_like("llama");
  config["max_position_embeddings"] = 300;
  const auto model = packed_inference(random_model(config), PackedType::bf16, 1);
  const std::int64_t page = model->cache_bytes(1);
  EXPECT_EQ(model->shared_bytes(130), 2 * page);
  const auto source = model->make_cache();
  const Ids ids = some_ids(150);
  const auto extend = [&](SequenceCache& cache, std::size_t count) {
    const SequencePart part{&cache, std::span(ids).first(count), Scores::none};
    model->run({&part, 1});
  };
  extend(*source, 150);
  auto a = source->fork(140), b = source->fork(64);
  const SequenceCache* caches[] = {source.get(), a.get(), b.get()};
  EXPECT_EQ(model->held_bytes(caches), 3 * page);
  EXPECT_EQ(model->growth_bytes(*a, 150), page);    // a copy of the third page
  EXPECT_EQ(model->growth_bytes(*source, 192), 0);  // which its owner extends in place
  EXPECT_EQ(model->growth_bytes(*b, 65), page);
  extend(*a, 1);
  extend(*b, 1);
  EXPECT_EQ(model->held_bytes(caches), 5 * page);
  EXPECT_EQ(model->growth_bytes(*a, 192), 0);
  a.reset();
  EXPECT_EQ(model->held_bytes(std::span(caches).first(1)), 3 * page);
}

TEST(Inference, MoreTokensThanTheContextAreRefused) {
  const Model plain = random_model(examples::llama_like("llama"));
  for (const auto& model : {packed_inference(plain, PackedType::f32, 1), tensor_inference(plain)}) {
    EXPECT_TRUE(mentions(error_of([&] { in_pieces(*model, some_ids(33), {33}); }), {"33", "32"}));
  }
}

TEST(Inference, RoutersAreCountedAlike) {
  const Ids ids = some_ids(20);
  for (const char* family : {"mixtral", "deepseek_v3"}) {
    const Model plain = random_model(examples::config_of(family));
    RoutingRecorder packed, tensors;
    const auto count = [&](std::unique_ptr<InferenceModel> model, RoutingRecorder& recorder) {
      const auto cache = model->make_cache();
      const SequencePart part{cache.get(), ids, Scores::none};
      model->run({&part, 1}, &recorder);
    };
    count(packed_inference(plain, PackedType::f32, 2), packed);
    count(tensor_inference(plain), tensors);
    const auto &found = packed.statistics().layers, &expected = tensors.statistics().layers;
    ASSERT_EQ(found.size(), plain.spec.layers.size());
    for (std::size_t l = 0; l < found.size(); ++l) {
      EXPECT_EQ(found[l].tokens, plain.spec.layers[l].moe ? 20 : 0);
      EXPECT_EQ(found[l].tokens, expected[l].tokens);
      EXPECT_EQ(found[l].tokens_E, expected[l].tokens_E);
      EXPECT_NEAR(found[l].entropy_sum, expected[l].entropy_sum, 1e-4);
    }
  }
}

TEST(PackedInference, QuantisedWeightsComeCloseAndFinerOnesCloser) {
  const Ids ids = some_ids(20);
  for (const char* family : {"llama", "gpt2"}) {  // routers would turn little into much
    const Model plain = random_model(examples::config_of(family));
    const at::Tensor expected = expected_scores(plain, ids);
    const auto off = [&](PackedType type) {
      const at::Tensor scores = in_pieces(*packed_inference(plain, type, 2), ids, {20});
      return ((scores - expected).norm() / expected.norm()).item<double>();
    };
    const double bf16 = off(PackedType::bf16), int8 = off(PackedType::int8);
    EXPECT_LT(bf16, 0.03) << family;
    EXPECT_LT(int8, 0.06) << family;
    EXPECT_GT(off(PackedType::int4), int8) << family;
  }
}

TEST(Inference, NamesTheLayerWhereNumbersBreak) {
  const auto complaint = [](const Model& plain) {
    std::string both;
    for (const auto& model :
         {packed_inference(plain, PackedType::f32, 1), tensor_inference(plain)}) {
      both += error_of([&] { model->fail_where_not_finite(some_ids(6)); }) + "|";
    }
    EXPECT_EQ(both.substr(0, both.find('|')) + "|" + both.substr(0, both.find('|')) + "|", both);
    return both;
  };
  Model attention = random_model(examples::llama_like("llama"));
  attention.weights.layers[1].attn.o.plain()[0][0] = NAN;
  EXPECT_TRUE(mentions(complaint(attention), {"attention of layer 1"}));
  Model moe = random_model(examples::llama_like("mixtral"));
  std::get<Moe>(moe.weights.layers[1].ffn).experts.up.plain().fill_(NAN);
  EXPECT_TRUE(mentions(complaint(moe), {"MoE of layer 1"}));
  Model ffn = random_model(examples::gpt2());
  std::get<Ffn>(ffn.weights.layers[0].ffn).down_bias.plain()[2] = INFINITY;
  EXPECT_TRUE(mentions(complaint(ffn), {"FFN of layer 0"}));
  Model embedding = random_model(examples::llama_like("llama"));
  embedding.weights.embed.plain().fill_(NAN);
  EXPECT_TRUE(mentions(complaint(embedding), {"in the embedding"}));
  Model head = random_model(examples::llama_like("llama"));
  head.weights.head.plain()[3][0] = NAN;
  EXPECT_TRUE(mentions(complaint(head), {"final norm or the head"}));
}

// ---- Weights ----------------------------------------------------------------------------------

TEST(CpuModel, LeavesTheOriginalAndTheEmbeddingAsTheyAre) {
  Json config = examples::llama_like("llama");
  config["tie_word_embeddings"] = true;
  const Model plain = random_model(config);
  Executor executor(1);
  const CpuModel packed(plain, PackedType::int4, PackedType::bf16, executor);
  EXPECT_FALSE(plain.weights.head.defined());
  EXPECT_EQ(plain.weights.layers[0].attn.q.packed(), nullptr);
  EXPECT_TRUE(packed.weights.embed.plain().is_same(plain.weights.embed.plain()));
  ASSERT_NE(packed.weights.head.packed(), nullptr);
  EXPECT_EQ(packed.weights.head.packed()->shape().n, packed.spec.vocab);
  EXPECT_EQ(packed.weights.layers[0].attn_norm.weight.packed(), nullptr);
  EXPECT_TRUE(
      mentions(error_of([&] { copy_weights(packed.weights, at::kFloat, at::kCPU); }), {"packed"}));
}

TEST(PackedWeight, TakesAsManyBytesAsItsCodesAndScales) {
  Executor executor(1);
  const at::Tensor w = at::zeros({3, 64, 128});
  for (const auto& [type, bits] : {std::pair{PackedType::f32, 32.0},
                                   {PackedType::bf16, 16.0},
                                   {PackedType::int8, 8.5},
                                   {PackedType::int4, 4.5}}) {
    EXPECT_EQ(static_cast<double>(WeightPacker(executor).pack(w, type, 32).bytes()) * 8,
              bits * static_cast<double>(w.numel()));
  }
}

TEST(PackedWeight, IsTheSameFromEveryTypeThatHoldsTheValuesAndEveryStride) {
  Executor executor(2);
  // Multiples of 1/32, which bf16 and f16 hold.
  const at::Tensor w = (support::normal_tensor({37, 51}, 3) * 32).round().div(32).to(at::kBFloat16);
  for (const PackedType type : {PackedType::f32, PackedType::bf16, PackedType::int8}) {
    WeightPacker packer(executor);
    const PackedWeight from_bf16 = packer.pack(w, type, 32);
    const auto same = [&](const at::Tensor& other) {
      const PackedWeight packed = packer.pack(other, type, 32);
      const kernels::Matrix a = from_bf16.matrix(), b = packed.matrix();
      return std::equal(a.data, a.data + a.shape.bytes(), b.data);
    };
    EXPECT_TRUE(same(w.to(at::kFloat)));
    EXPECT_TRUE(same(w.t().contiguous().t()));
    EXPECT_TRUE(same(at::cat({w, w}, 1).narrow(1, 51, 51)));
    EXPECT_TRUE(same(w.to(at::kHalf)));  // holds them all
    for (std::int64_t n : {0, 16, 36}) {
      for (std::int64_t k : {0, 49, 50}) {
        const kernels::Matrix m = from_bf16.matrix();
        const float value = w[n][k].item<float>();
        EXPECT_NEAR(kernels::unpack(m.shape, m.data, n, k), value,
                    type == PackedType::int8 ? 0.02 : 0.0);
      }
    }
  }
}

}  // namespace
}  // namespace moebius
