#include "eval/evaluate_ids.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/support.h"
#include "eval/divergence.h"
#include "model/random_model.h"

namespace moebius {
namespace {

using support::random_model;
using Ids = std::vector<std::int32_t>;

Context quiet() {
  Context ctx;
  ctx.log = Log(LogLevel::off);
  return ctx;
}

Ids some_text(std::size_t count) {
  Ids ids;
  Random random(8, 8);
  for (std::size_t i = 0; i < count; ++i)
    ids.push_back(static_cast<std::int32_t>(random.next_below(16)));
  return ids;
}

/// Summed negative log-likelihood of one window, from the logits of one pass in double.
double nll_of(const Model& model, const Ids& window) {
  at::Tensor ids = at::empty({1, static_cast<std::int64_t>(window.size())}, at::kLong);
  std::copy(window.begin(), window.end(), ids.mutable_data_ptr<std::int64_t>());
  const at::Tensor log_p = at::log_softmax(support::logits_of(model, ids)[0].to(at::kDouble), -1);
  double nll = 0;
  for (std::size_t i = 0; i + 1 < window.size(); ++i) {
    nll -= log_p[static_cast<std::int64_t>(i)][window[i + 1]].item<double>();
  }
  return nll;
}

TEST(Divergence, OfEqualLogitsIsZero) {
  const at::Tensor logits = support::normal_tensor({5, 7}, 1);
  const Divergence d = divergence(logits, logits + 3.0);  // a shift changes no probability
  EXPECT_NEAR(d.kl_sum, 0.0, 1e-6);
  EXPECT_EQ(d.agreements, 5);
}

TEST(Divergence, OfKnownDistributions) {
  const at::Tensor p = at::tensor({0.5f, 0.25f, 0.25f}).log().unsqueeze(0);
  const at::Tensor q = at::tensor({0.25f, 0.5f, 0.25f}).log().unsqueeze(0);
  const Divergence d = divergence(p, q);
  EXPECT_NEAR(d.kl_sum, 0.5 * std::log(2.0) - 0.25 * std::log(2.0), 1e-6);
  EXPECT_EQ(d.agreements, 0);
  const Divergence skewed = divergence(at::tensor({0.0f, 0.0f}).unsqueeze(0),
                                       at::tensor({0.8f, 0.2f}).log().unsqueeze(0));
  EXPECT_NEAR(skewed.kl_sum, 0.5 * std::log(0.5 / 0.8) + 0.5 * std::log(0.5 / 0.2), 1e-6);
}

std::unique_ptr<InferenceModel> ready(const Model& model) {
  return packed_inference(model, kernels::PackedType::f32, 2);
}

TEST(EvaluateIds, WindowsStandAloneAndALastOneNeedsTwoTokens) {
  const Model model = random_model(examples::llama_like("llama"));
  const auto expect = [&](std::size_t count, std::vector<std::size_t> windows) {
    const Ids ids = some_text(count);
    double nll = 0;
    std::size_t at = 0;
    std::int64_t tokens = 0;
    for (const std::size_t size : windows) {
      nll += nll_of(model, Ids(ids.begin() + static_cast<std::ptrdiff_t>(at),
                               ids.begin() + static_cast<std::ptrdiff_t>(at + size)));
      at += size;
      tokens += static_cast<std::int64_t>(size) - 1;
    }
    const EvalResult result = evaluate_ids(*ready(model), ids, 4, nullptr, quiet());
    EXPECT_EQ(result.tokens, tokens) << count;
    EXPECT_NEAR(result.nll, nll / static_cast<double>(tokens), 1e-5) << count;
    EXPECT_NEAR(result.perplexity, std::exp(result.nll), 1e-9);
    EXPECT_FALSE(result.kl);
  };
  expect(2, {2});
  expect(4, {4});
  expect(5, {4});  // a window of one token predicts nothing
  expect(6, {4, 2});
  expect(8, {4, 4});
  expect(9, {4, 4});
  expect(11, {4, 4, 3});
}

TEST(EvaluateIds, LongWindowsAreMeasuredAsAWhole) {
  Json config = examples::llama_like("llama");
  config["max_position_embeddings"] = 700;  // more rows than logits are held at once
  const Model model = random_model(config);
  const Ids ids = some_text(700);
  const EvalResult result = evaluate_ids(*ready(model), ids, 700, nullptr, quiet());
  EXPECT_EQ(result.tokens, 699);
  EXPECT_NEAR(result.nll, nll_of(model, ids) / 699, 1e-5);
}

TEST(EvaluateIds, TooFewTokensAreAnError) {
  const Model model = random_model(examples::llama_like("llama"));
  for (const std::size_t count : {0u, 1u}) {
    EXPECT_TRUE(support::mentions(support::error_of([&] {
                                    evaluate_ids(*ready(model), some_text(count), 4, nullptr,
                                                 quiet());
                                  }),
                                  {"too few"}));
  }
}

TEST(EvaluateIds, AReferenceGivesDivergenceAndAgreement) {
  const Model model = random_model(examples::llama_like("llama"), 1);
  const Model other = random_model(examples::llama_like("llama"), 2);
  const Ids ids = some_text(13);
  const EvalResult same = evaluate_ids(*ready(model), ids, 5, ready(model).get(), quiet());
  EXPECT_NEAR(*same.kl, 0.0, 1e-7);
  EXPECT_EQ(*same.top1_agreement, 1.0);
  const EvalResult far = evaluate_ids(*ready(model), ids, 13, ready(other).get(), quiet());
  at::Tensor tensor = at::empty({1, 13}, at::kLong);
  std::copy(ids.begin(), ids.end(), tensor.mutable_data_ptr<std::int64_t>());
  const auto rows = [&](const Model& m) {
    return support::logits_of(m, tensor)[0].narrow(0, 0, 12);
  };
  const Divergence exact = divergence(rows(other), rows(model));
  EXPECT_NEAR(*far.kl, exact.kl_sum / 12, 1e-5);
  EXPECT_NEAR(*far.top1_agreement, static_cast<double>(exact.agreements) / 12, 1e-12);
  EXPECT_GT(*far.kl, 0.01);
}

TEST(EvaluateIds, RoutingSumsToOneAndNamesTheDead) {
  Json config = examples::overlay_of("llama");
  Model model = random_model(config);
  const Ids ids = some_text(20);
  EvalResult result = evaluate_ids(*ready(model), ids, 8, nullptr, quiet());
  EXPECT_EQ(result.routing.moe_layers(), std::vector<std::size_t>{1});
  const std::vector<double> shares = result.routing.layers.at(1).share_E();
  ASSERT_EQ(shares.size(), 3u);
  EXPECT_NEAR(shares[0] + shares[1] + shares[2], 1.0, 1e-12);
  EXPECT_EQ(result.routing.layers[1].tokens, 20);
  std::get<Moe>(model.weights.layers[1].ffn).router.weight.plain().zero_();  // ties: 0 and 1 for
                                                                             // every token
  result = evaluate_ids(*ready(model), ids, 8, nullptr, quiet());
  const RouterStatistics& router = result.routing.layers.at(1);
  EXPECT_EQ(router.share_E(), (std::vector<double>{0.5, 0.5, 0.0}));
  EXPECT_EQ(router.dead_experts(), std::vector<std::int64_t>{2});
  EXPECT_NEAR(router.load_entropy(), std::log(2.0), 1e-12);
  EXPECT_NEAR(router.router_entropy(), std::log(3.0), 1e-6);
}

RoutingStatistics routed(const Ids& ids, double entropy_sum) {
  RoutingStatistics sums;
  sums.layers.resize(3);
  sums.layers[2].add({ids, /*top_k=*/1, /*experts=*/3, entropy_sum});
  return sums;
}

TEST(MergeResults, WeighsLossesByPredictedTokensAndRoutingByRoutedOnes) {
  EvalResult a, b;
  a.tokens = 30, a.nll = 1.0, a.kl = 0.1, a.top1_agreement = 1.0, a.seconds = 1;
  b.tokens = 10, b.nll = 3.0, b.kl = 0.5, b.top1_agreement = 0.0, b.seconds = 2;
  a.routing = routed(Ids(40, 0), 40 * 0.4);
  b.routing = routed(Ids(10, 1), 10 * 0.8);
  const EvalResult all = merge_results(std::vector{a, b});
  EXPECT_EQ(all.tokens, 40);
  EXPECT_NEAR(all.nll, 1.5, 1e-12);
  EXPECT_NEAR(all.perplexity, std::exp(1.5), 1e-12);
  EXPECT_NEAR(*all.kl, 0.2, 1e-12);
  EXPECT_NEAR(*all.top1_agreement, 0.75, 1e-12);
  EXPECT_NEAR(all.seconds, 3.0, 1e-12);
  EXPECT_EQ(all.routing.moe_layers(), std::vector<std::size_t>{2});
  const RouterStatistics& router = all.routing.layers[2];
  EXPECT_EQ(router.share_E(), (std::vector<double>{0.8, 0.2, 0.0}));
  EXPECT_EQ(router.dead_experts(), std::vector<std::int64_t>{2});
  EXPECT_NEAR(router.router_entropy(), 0.48, 1e-12);
  EXPECT_NEAR(router.load_entropy(), -(0.8 * std::log(0.8) + 0.2 * std::log(0.2)), 1e-12);
}

TEST(MergeResults, OfTwoTextsHasTheSharesOfBothTogether) {
  const Model model = random_model(examples::overlay_of("llama"));
  const Ids ids = some_text(21);
  const std::span<const std::int32_t> whole(ids);
  const EvalResult both = evaluate_ids(*ready(model), whole.first(16), 8, nullptr, quiet());
  const EvalResult merged = merge_results(
      std::vector{evaluate_ids(*ready(model), whole.first(8), 8, nullptr, quiet()),
                  evaluate_ids(*ready(model), whole.subspan(8, 8), 8, nullptr, quiet())});
  EXPECT_EQ(merged.tokens, both.tokens);
  EXPECT_NEAR(merged.nll, both.nll, 1e-6);
  EXPECT_EQ(merged.routing.layers.at(1).tokens_E, both.routing.layers.at(1).tokens_E);
}

TEST(MergeResults, OfOneTextIsThatText) {
  EvalResult a;
  a.name = "x.txt", a.tokens = 3, a.nll = 0.5, a.perplexity = std::exp(0.5);
  const EvalResult all = merge_results(std::vector{a});
  EXPECT_EQ(all.name, "all");
  EXPECT_EQ(all.tokens, 3);
  EXPECT_EQ(all.nll, 0.5);
}

}  // namespace
}  // namespace moebius
