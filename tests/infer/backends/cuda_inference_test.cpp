// Models on a GPU beside the plainest tensors. Where there is no GPU its kernels run on the CPU.
#include "infer/backends/cuda_inference.h"

#include <algorithm>

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
using support::mentions;
using support::random_model;
using support::some_ids;

at::Device device() {
  return at::hasCUDA() ? at::Device(at::kCUDA, 0) : at::Device(at::kCPU);
}

double off(const at::Tensor& found, const at::Tensor& expected) {
  return ((found - expected).norm() / expected.norm()).item<double>();
}

/// Weights that are packed as `type`, all others in f32 on the CPU.
Model packed_model(const Json& config, PackedType type) {
  Model model = random_model(config);
  Executor executor(2);
  pack_weights(model.weights, type, executor);
  return model;
}

void expect_what_tensors_compute(const Json& config) {
  const Ids ids = some_ids(12);
  const Model plain = random_model(config);
  const at::Tensor expected = in_pieces(*tensor_inference(plain), ids, {12});
  const auto model = cuda_inference(plain, "f32", device());
  EXPECT_LT(off(in_pieces(*model, ids, {12}), expected), 2e-5) << config.dump();
  EXPECT_LT(off(in_pieces(*model, ids, std::vector<std::size_t>(12, 1)), expected), 2e-5)
      << config.dump();
  EXPECT_LT(off(in_pieces(*model, ids, {4, 1, 1, 6}), expected), 2e-5) << config.dump();
}

TEST(CudaInference, ComputesWhatTensorsDo) {
  expect_what_tensors_compute(examples::config_of("mixtral"));
  expect_what_tensors_compute(examples::config_of("deepseek_v3"));
}

TEST(LongCudaInference, ComputesWhatTensorsDoForEveryFamily) {
  for (const Json& config : all_configs()) expect_what_tensors_compute(config);
}

/// How far bf16 may take a model from f32: where routers turn little into much, a token may go
/// elsewhere.
double tolerance(const Model& model) {
  const bool routed = std::any_of(model.spec.layers.begin(), model.spec.layers.end(),
                                  [](const LayerSpec& layer) { return layer.moe.has_value(); });
  return routed ? 0.4 : 0.08;
}

TEST(LongCudaInference, EveryFamilyInBf16ComesClose) {
  const Ids ids = some_ids(6);
  for (const Json& config : all_configs()) {
    const Model plain = random_model(config);
    const at::Tensor expected = in_pieces(*tensor_inference(plain), ids, {6});
    const auto model = cuda_inference(plain, "bf16", device());
    EXPECT_LT(off(in_pieces(*model, ids, {2, 1, 1, 1, 1}), expected), tolerance(plain))
        << config.dump();
  }
}

void expect_packed_to_be_close(Json config, PackedType type) {
  const Ids ids = some_ids(36);
  for (const char* context : {"max_position_embeddings", "n_positions"}) {
    if (config.contains(context)) config[context] = 40;
  }
  const auto model = cuda_inference(packed_model(config, type),
                                    type == PackedType::int8 ? "int8" : "int4", device());
  const std::vector<float> reference = model->reference_scores(ids);
  const at::Tensor expected = copy_of(reference, model->spec().vocab)[0];
  for (const std::vector<std::size_t>& sizes : {std::vector<std::size_t>{34, 1, 1}, {20, 15, 1}}) {
    const at::Tensor last = in_pieces(*model, ids, sizes)[35];
    EXPECT_LT(off(last, expected), tolerance({model->spec(), {}})) << config.dump();
  }
}

TEST(CudaInference, PackedWeightsComeClose) {
  expect_packed_to_be_close(examples::config_of("mixtral"), PackedType::int4);
}

TEST(LongCudaInference, PackedWeightsOfEveryFamilyComeClose) {
  for (const Json& config : all_configs()) {
    for (const PackedType type : {PackedType::int8, PackedType::int4}) {
      expect_packed_to_be_close(config, type);
    }
  }
}

TEST(CudaInference, SequencesSideBySideAreEachAlone) {
  const Ids ids = some_ids(12), other = some_ids(9, 5);
  for (const char* family : {"mixtral", "deepseek_v3", "gpt2"}) {
    const Model plain = random_model(examples::config_of(family));
    const std::int64_t vocab = plain.spec.vocab;
    const auto model = cuda_inference(plain, "f32", device());
    const at::Tensor alone = in_pieces(*model, ids, {12}), of_other = in_pieces(*model, other, {9});
    const auto a = model->make_cache(), b = model->make_cache();
    const SequencePart first[] = {{a.get(), std::span(ids).first(5), Scores::none},
                                  {b.get(), std::span(other).first(1), Scores::last}};
    EXPECT_LT(off(copy_of(model->run(first), vocab), of_other.narrow(0, 0, 1)), 2e-5) << family;
    for (std::size_t step = 0; step < 5; ++step) {  // computed, captured, and as it was captured
      const SequencePart parts[] = {{b.get(), std::span(other).subspan(1 + step, 1), Scores::last},
                                    {a.get(), std::span(ids).subspan(5 + step, 1), Scores::last}};
      const at::Tensor found = copy_of(model->run(parts), vocab);
      const auto i = static_cast<std::int64_t>(step);
      EXPECT_LT(off(found[0], of_other[1 + i]), 2e-5) << family << step;
      EXPECT_LT(off(found[1], alone[5 + i]), 2e-5) << family << step;
    }
    a->truncate(7);
    const SequencePart again{a.get(), std::span(ids).subspan(7, 1), Scores::last};
    EXPECT_LT(off(copy_of(model->run({&again, 1}), vocab)[0], alone[7]), 2e-5) << family;
    EXPECT_EQ(a->length(), 8);
  }
}

TEST(CudaInference, RoutersAreCountedLikeByTensors) {
  const Ids ids = some_ids(6);
  const Model plain = random_model(examples::config_of("mixtral"));
  const auto counted = [&](InferenceModel& model) {
    RoutingRecorder recorder;
    const auto cache = model.make_cache();
    for (const std::int32_t& id : ids) {
      const SequencePart part{cache.get(), {&id, 1}, Scores::none};
      EXPECT_TRUE(model.run({&part, 1}, &recorder).empty());
    }
    return recorder.statistics();
  };
  const RoutingStatistics found = counted(*cuda_inference(plain, "f32", device()));
  const RoutingStatistics expected = counted(*tensor_inference(plain));
  ASSERT_EQ(found.layers.size(), expected.layers.size());
  for (std::size_t l = 0; l < found.layers.size(); ++l) {
    EXPECT_EQ(found.layers[l].tokens, expected.layers[l].tokens);
    EXPECT_EQ(found.layers[l].tokens_E, expected.layers[l].tokens_E);
    EXPECT_EQ(found.layers[l].visits, expected.layers[l].visits);
    EXPECT_NEAR(found.layers[l].entropy_sum, expected.layers[l].entropy_sum, 1e-4);
  }
}

TEST(CudaInference, MoreTokensThanTheContextAreRefused) {
  const auto model = cuda_inference(random_model(examples::llama_like("llama")), "f32", device());
  EXPECT_TRUE(mentions(error_of([&] { in_pieces(*model, some_ids(33), {32, 1}); }), {"33", "32"}));
}

TEST(CudaInference, SaysInWhichLayerANumberIsNotFinite) {
  Model plain = random_model(examples::config_of("mixtral"));
  plain.weights.layers[1].attn_norm.weight.plain()[0] = std::nanf("");
  const auto model = cuda_inference(plain, "f32", device());
  EXPECT_TRUE(mentions(error_of([&] { model->fail_where_not_finite(some_ids(4)); }),
                       {"attention", "layer 1"}));
}

}  // namespace
}  // namespace moebius
