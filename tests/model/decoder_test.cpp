#include "model/decoder.h"

#include <limits>

#include "base/support.h"
#include "model/random_model.h"

namespace moebius {
namespace {

using support::all_configs;
using support::error_of;
using support::largest_difference;
using support::logits_of;
using support::mentions;
using support::random_model;
using support::some_ids;

/// Logits of all positions, from pieces of these lengths that go through one cache.
at::Tensor logits_in_pieces(const Model& model, const at::Tensor& ids_BS,
                            const std::vector<std::int64_t>& pieces) {
  KvCache cache = make_cache(model.spec, ids_BS.size(0), ids_BS.size(1) + 3, at::kFloat);
  std::vector<at::Tensor> logits;
  std::int64_t at = 0;
  for (const std::int64_t count : pieces) {
    const at::Tensor piece = ids_BS.narrow(1, at, count);
    const auto out = decode(model.spec, model.weights, piece, &cache, at::kFloat);
    logits.push_back(head(model.spec, model.weights, out.hidden));
    at += count;
    EXPECT_EQ(cache.length, at);
  }
  return at::cat(logits, 1);
}

TEST(Decode, TokenByTokenThroughTheCacheEqualsOnePass) {
  for (const Json& config : all_configs()) {
    const Model model = random_model(config);
    const at::Tensor ids = some_ids(2, 9), whole = logits_of(model, ids);
    ASSERT_GT(whole.abs().max().item<double>(), 0.1);
    const at::Tensor pieces = logits_in_pieces(model, ids, std::vector<std::int64_t>(9, 1));
    EXPECT_LT(largest_difference(pieces, whole), 1e-5) << config.dump();
  }
}

TEST(Decode, APromptInChunksEqualsOnePass) {
  for (const Json& config : all_configs()) {
    const Model model = random_model(config);
    const at::Tensor ids = some_ids(2, 12), whole = logits_of(model, ids);
    EXPECT_LT(largest_difference(logits_in_pieces(model, ids, {5, 1, 4, 2}), whole), 1e-5)
        << config.dump();
  }
}

TEST(Decode, TheCacheOfLatentAttentionHoldsLatentsAndOneRotaryKey) {
  const ModelSpec spec = examples::spec_of(examples::deepseek("deepseek_v3"));
  const KvCache cache = make_cache(spec, 3, 9, at::kFloat);
  ASSERT_EQ(cache.layers.size(), 2u);
  EXPECT_EQ(cache.layers[1].k.sizes(), (at::IntArrayRef{3, 9, 2}));
  EXPECT_EQ(cache.layers[1].v.sizes(), (at::IntArrayRef{3, 9, 7}));
}

TEST(Decode, LaterTokensDoNotChangeEarlierLogits) {
  for (const Json& config : all_configs()) {
    const Model model = random_model(config);
    at::Tensor ids = some_ids(1, 8);
    const at::Tensor before = logits_of(model, ids);
    ids[0][5] = (ids[0][5].item<std::int64_t>() + 1) % 16;
    const at::Tensor after = logits_of(model, ids);
    EXPECT_LT(largest_difference(before.narrow(1, 0, 5), after.narrow(1, 0, 5)), 1e-6);
    EXPECT_GT(largest_difference(before.narrow(1, 5, 3), after.narrow(1, 5, 3)), 1e-4);
  }
}

TEST(Decode, RowsOfABatchAreIndependent) {
  const Model model = random_model(examples::llama_like("mixtral"));
  const at::Tensor ids = some_ids(3, 6), whole = logits_of(model, ids);
  for (std::int64_t b = 0; b < 3; ++b) {
    EXPECT_LT(largest_difference(logits_of(model, ids.narrow(0, b, 1))[0], whole[b]), 1e-5);
  }
}

TEST(Decode, RoutingsAreThoseOfTheMoeLayersInOrder) {
  const Model model = random_model(examples::llama_like("mixtral"));
  const auto out = decode(model.spec, model.weights, some_ids(2, 5), nullptr, at::kFloat);
  ASSERT_EQ(out.routings.size(), 2u);
  EXPECT_EQ(out.routings[0].ids_TK.size(0), 10);
  EXPECT_EQ(out.routings[0].ids_TK.size(1), 2);
  EXPECT_EQ(out.routings[1].logits_TE.size(1), 4);
  const Model dense = random_model(examples::gpt2());
  EXPECT_TRUE(
      decode(dense.spec, dense.weights, some_ids(1, 3), nullptr, at::kFloat).routings.empty());
}

/// Sequences of unequal length, one token among them.
TokenBatch ragged_batch() {
  TokenBatch batch;
  std::uint64_t next = 0;
  const Random random(3, 4);
  for (const std::size_t length : {7, 2, 31, 12}) {
    std::vector<std::int32_t> ids(length);
    for (std::int32_t& id : ids) id = static_cast<std::int32_t>(random.bits(next++) % 16);
    batch.add_next_token(ids);
  }
  return batch;
}

at::Tensor ids_of(const TokenBatch& batch, std::size_t sequence) {
  const auto begin = static_cast<std::size_t>(batch.sequence_starts[sequence]);
  const auto end = static_cast<std::size_t>(batch.sequence_starts[sequence + 1]);
  return ids_tensor(std::span(batch.ids_N).subspan(begin, end - begin));
}

TEST(DecodeBatch, EverySequenceIsComputedAsIfAlone) {
  std::vector<Json> configs = all_configs();
  Json dynamic = examples::llama_like("llama");  // frequencies depend on a sequence's length
  dynamic["hidden_size"] = 16;
  dynamic["rope_scaling"] = {
      {"rope_type", "dynamic"}, {"factor", 4.0}, {"original_max_position_embeddings", 8}};
  configs.push_back(dynamic);
  const TokenBatch batch = ragged_batch();
  for (const Json& config : configs) {
    const Model model = random_model(config);
    const at::Tensor together = head(model.spec, model.weights,
                                     decode(model.spec, model.weights, batch, at::kFloat).hidden);
    for (std::size_t s = 0; s < 4; ++s) {
      const at::Tensor alone = logits_of(model, ids_of(batch, s))[0];
      const at::Tensor part = together.narrow(0, batch.sequence_starts[s], alone.size(0));
      // ATen's sigmoid of a shared gate, and a latent's single query, round by the batch.
      const bool rounds = model.spec.latent || config["model_type"] == "qwen2_moe";
      EXPECT_TRUE(rounds ? largest_difference(part, alone) < 1e-5 : at::equal(part, alone))
          << config.dump() << " sequence " << s;
    }
  }
}

TEST(DecodeBatch, SoItIsInDoubleWhereKernelsDoNotServe) {
  for (const char* family : {"llama", "gpt2", "deepseek_v3"}) {
    Model model = random_model(examples::config_of(family));
    model.weights = copy_weights(model.weights, at::kDouble, at::kCPU);
    const TokenBatch batch = ragged_batch();
    const at::Tensor together = decode(model.spec, model.weights, batch, at::kDouble).hidden;
    for (std::size_t s = 0; s < 4; ++s) {
      const at::Tensor alone =
          decode(model.spec, model.weights, ids_of(batch, s), nullptr, at::kDouble).hidden[0];
      EXPECT_LT(
          largest_difference(together.narrow(0, batch.sequence_starts[s], alone.size(0)), alone),
          1e-6)
          << family;
    }
  }
}

TEST(DecodeBatch, WhatDoesNotFitIsNamed) {
  const Model model = random_model(examples::llama_like("llama"));
  const auto error = [&](const TokenBatch& batch) {
    return error_of([&] { decode(model.spec, model.weights, batch, at::kFloat); });
  };
  TokenBatch batch;
  EXPECT_TRUE(mentions(error(batch), {"without tokens"}));
  batch.add_next_token(std::vector<std::int32_t>(34, 1));
  EXPECT_TRUE(mentions(error(batch), {"33", "32"}));
  for (const std::int32_t bad : {-1, 16}) {
    TokenBatch foreign;
    foreign.add_next_token(std::vector<std::int32_t>{3, bad, 3});
    EXPECT_TRUE(mentions(error(foreign), {std::to_string(bad), "16"}));
  }
}

TEST(Decode, MoreTokensThanTheContextIsAnErrorWithBothNumbers) {
  for (const char* family : {"llama", "gpt2"}) {
    const Model model = random_model(examples::config_of(family));
    EXPECT_NO_THROW(decode(model.spec, model.weights, some_ids(1, 32), nullptr, at::kFloat));
    EXPECT_TRUE(mentions(
        error_of([&] { decode(model.spec, model.weights, some_ids(1, 33), nullptr, at::kFloat); }),
        {"33", "32"}));
  }
}

TEST(Decode, ACacheThatIsFullIsAnErrorWithBothNumbers) {
  const Model model = random_model(examples::llama_like("llama"));
  KvCache cache = make_cache(model.spec, 1, 6, at::kFloat);
  decode(model.spec, model.weights, some_ids(1, 4), &cache, at::kFloat);
  EXPECT_TRUE(mentions(
      error_of([&] { decode(model.spec, model.weights, some_ids(1, 3), &cache, at::kFloat); }),
      {"7", "6"}));
  EXPECT_EQ(cache.length, 4);
}

TEST(Decode, ACacheLargerThanTheContextNamesTheContext) {
  const Model model = random_model(examples::llama_like("llama"));
  KvCache cache = make_cache(model.spec, 1, 64, at::kFloat);
  EXPECT_TRUE(mentions(
      error_of([&] { decode(model.spec, model.weights, some_ids(1, 33), &cache, at::kFloat); }),
      {"33", "32"}));
}

TEST(Rotary, AnglesArePositionsTimesInverseFrequencies) {
  ModelSpec spec = examples::spec_of(examples::llama_like("llama"));
  spec.head_dim = 4;
  spec.rope.theta = 100.0;
  const Rotary r = rotary(spec, 3, 2, at::kCPU);
  for (int s = 0; s < 2; ++s) {
    for (int a = 0; a < 2; ++a) {
      const double angle = (3 + s) * (a == 0 ? 1.0 : 0.1);
      EXPECT_NEAR(r.cos_SP[s][a].item<double>(), std::cos(angle), 1e-6);
      EXPECT_NEAR(r.sin_SP[s][a].item<double>(), std::sin(angle), 1e-6);
    }
  }
}

// ---- Naming the layer where numbers break ------------------------------------------------------

std::string complaint(const Model& model) {
  const at::Tensor ids = some_ids(1, 6);
  return error_of([&] {
    check_finite_logits(logits_of(model, ids), model.spec, model.weights, ids, at::kFloat);
  });
}

const double nan = std::numeric_limits<double>::quiet_NaN();

TEST(CheckFiniteLogits, AcceptsAHealthyModel) {
  EXPECT_EQ(complaint(random_model(examples::llama_like("llama"))), "no error");
}

TEST(CheckFiniteLogits, NamesTheAttentionOfTheLayer) {
  Model model = random_model(examples::llama_like("llama"));
  model.weights.layers[1].attn.o.plain()[0][0] = nan;
  EXPECT_TRUE(mentions(complaint(model), {"attention of layer 1"}));
}

TEST(CheckFiniteLogits, NamesTheFfnOfTheLayer) {
  Model model = random_model(examples::gpt2());
  std::get<Ffn>(model.weights.layers[0].ffn).down_bias.plain()[2] =
      std::numeric_limits<double>::infinity();
  EXPECT_TRUE(mentions(complaint(model), {"FFN of layer 0"}));
}

TEST(CheckFiniteLogits, NamesTheMoeOfTheLayer) {
  Model model = random_model(examples::llama_like("mixtral"));
  std::get<Moe>(model.weights.layers[1].ffn).experts.up.plain().fill_(nan);
  EXPECT_TRUE(mentions(complaint(model), {"MoE of layer 1"}));
}

TEST(CheckFiniteLogits, NamesTheEmbeddingAndTheHead) {
  Model embedding = random_model(examples::llama_like("llama"));
  embedding.weights.embed.plain().fill_(nan);
  EXPECT_TRUE(mentions(complaint(embedding), {"in the embedding"}));
  Model final = random_model(examples::llama_like("llama"));
  final.weights.head.plain()[3][0] = nan;
  EXPECT_TRUE(mentions(complaint(final), {"final norm or the head"}));
  Model norm = random_model(examples::gpt2());
  norm.weights.norm.bias.plain()[0] = nan;
  EXPECT_TRUE(mentions(complaint(norm), {"final norm or the head"}));
}

}  // namespace
}  // namespace moebius
