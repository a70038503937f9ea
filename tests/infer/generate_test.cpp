#include "infer/generate.h"

#include <cmath>

#include "base/support.h"
#include "infer/letter_tokenizer.h"
#include "model/random_model.h"

namespace moebius {
namespace {

using support::error_of;
using support::mentions;
using support::random_model;

class Generate : public ::testing::Test {
 protected:
  OpenModel open() const {
    return make_open_model("some/model", packed_inference(model_, kernels::PackedType::f32, 2),
                           tokenizer_);
  }
  Generation run(std::vector<std::int32_t> prompt) {
    OpenModel model = open();
    return run(model, prompt);
  }
  Generation run(OpenModel& model, const std::vector<std::int32_t>& prompt) {
    streamed_.clear();
    return continue_prompts(model, {&prompt, 1}, request_, ctx_, 0,
                            [&](std::size_t, std::string_view piece) { streamed_ += piece; })
        .at(0);
  }
  Model model_ = random_model(examples::llama_like("llama"));
  Tokenizer tokenizer_ = support::letter_tokenizer();
  GenerationRequest request_;
  Context ctx_;
  std::string streamed_;
};

TEST_F(Generate, GreedyTextIsTheArgmaxOfEachPrefix) {
  request_.max_tokens = 6;
  const Generation out = run({3, 1, 4});
  at::Tensor ids = at::tensor(std::vector<std::int64_t>{3, 1, 4}).unsqueeze(0);
  std::string expected;
  for (int i = 0; i < 6; ++i) {
    const at::Tensor best = support::logits_of(model_, ids).select(1, -1).argmax(-1, true);
    expected += static_cast<char>('a' + best.item<std::int64_t>());
    ids = at::cat({ids, best}, 1);
  }
  EXPECT_EQ(out.text, expected);
  EXPECT_EQ(streamed_, expected);
  EXPECT_EQ(out.prompt_tokens, 3);
  EXPECT_EQ(out.new_tokens, 6);
  EXPECT_EQ(out.finish_reason, FinishReason::length);
}

TEST_F(Generate, StopsBeforeAStopStringAndAtEndOfText) {
  request_.max_tokens = 8;
  const std::string whole = run({3, 1, 4}).text;
  request_.stop = {whole.substr(3, 2)};
  const Generation stopped = run({3, 1, 4});
  EXPECT_EQ(stopped.text, whole.substr(0, whole.find(request_.stop[0])));
  EXPECT_EQ(stopped.finish_reason, FinishReason::stop);
  request_.stop.clear();
  model_.spec.eos = {99, whole[0] - 'a'};
  const Generation ended = run({3, 1, 4});
  EXPECT_EQ(ended.text, "");
  EXPECT_EQ(ended.new_tokens, 1);
  EXPECT_EQ(ended.finish_reason, FinishReason::stop);
}

TEST_F(Generate, APromptThatFillsTheContextIsAnError) {
  request_.max_tokens = 5;
  EXPECT_TRUE(mentions(error_of([&] { run(std::vector<std::int32_t>(32, 1)); }),
                       {"prompt has 32 tokens", "context is 32", "shorten"}));
  const Generation last = run(std::vector<std::int32_t>(31, 1));  // room for one token
  EXPECT_EQ(last.new_tokens, 1);
  EXPECT_EQ(last.finish_reason, FinishReason::length);
}

TEST_F(Generate, NonFiniteLogitsNameTheLayer) {
  model_.weights.layers[1].attn.v.plain().fill_(NAN);
  EXPECT_TRUE(mentions(error_of([&] { run({1}); }), {"attention of layer 1"}));
}

TEST_F(Generate, ASignalInterrupts) {
  const std::atomic<int> signal = 2;
  ctx_.stop_signal = &signal;
  EXPECT_THROW(run({1}), Interrupted);
}

TEST_F(Generate, SampledTextDependsOnSeedAndStream) {
  request_.max_tokens = 20;
  request_.sampling.temperature = 3.0;
  const std::string first = run({1}).text;
  EXPECT_EQ(run({1}).text, first);
  ctx_.seed = 9;
  EXPECT_NE(run({1}).text, first);
}

TEST_F(Generate, WhatAPromptBeginsWithIsNotComputedAgain) {
  request_.max_tokens = 3;
  OpenModel model = open();
  const auto say = [&](const std::vector<std::int32_t>& prompt, std::int64_t cached) {
    const Generation out = run(model, prompt);
    EXPECT_EQ(out.cached_tokens, cached);
    EXPECT_EQ(out.text, run(prompt).text);
    return out.text;
  };
  const std::string first = say({3, 1, 4}, 0);
  std::vector<std::int32_t> longer{3, 1, 4, first[0] - 'a', first[1] - 'a', 7, 2, 6, 5, 0, 1, 2};
  say(longer, 5);  // the last token that was said has not been computed with
  longer[4] = (longer[4] + 1) % 8;
  say(longer, 4);
  say({3}, 0);
}

TEST_F(Generate, SeveralPromptsGiveWhatEachGivesAloneAndAreShownInOrder) {
  request_.max_tokens = 9;
  request_.sampling.temperature = 2.0;
  const std::vector<std::vector<std::int32_t>> prompts{{1}, {3, 1, 4, 5, 9, 2, 6}, {2, 7}};
  OpenModel model = open();
  std::vector<std::size_t> order;
  std::vector<std::string> shown(3);
  const auto results = continue_prompts(model, prompts, request_, ctx_, 5,
                                        [&](std::size_t p, std::string_view piece) {
                                          order.push_back(p);
                                          shown[p] += piece;
                                        });
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
  for (std::size_t p = 0; p < 3; ++p) {
    EXPECT_EQ(results[p].text, shown[p]);
    OpenModel fresh = open();
    EXPECT_EQ(results[p].text, continue_prompts(fresh, {&prompts[p], 1}, request_, ctx_, 5 + p,
                                                [](std::size_t, std::string_view) {})
                                   .at(0)
                                   .text);
  }
}

TEST_F(Generate, LogProbsStandBesideTheTextOfEachToken) {
  request_.max_tokens = 6;
  request_.top_logprobs = 3;
  const Generation out = run({3, 1, 4});
  ASSERT_TRUE(out.log_probs);
  std::string text;
  for (std::size_t t = 0; t < 6; ++t) {
    EXPECT_EQ(out.log_probs->text_offset[t], std::ssize(text));
    text += out.log_probs->tokens[t];
    const auto& top = out.log_probs->top_logprobs[t];
    ASSERT_EQ(top.size(), 3u);
    EXPECT_EQ(top[0], std::pair(out.log_probs->tokens[t], out.log_probs->token_logprobs[t]));
    EXPECT_GT(top[0].second, top[1].second);
    EXPECT_GT(top[1].second, top[2].second);
  }
  EXPECT_EQ(text, out.text);
  request_.top_logprobs = 0;
  EXPECT_FALSE(run({3, 1, 4}).log_probs);
}

TEST(CheckRequest, ParametersOutOfRangeAreRefused) {
  EXPECT_TRUE(mentions(error_of([] { check_request({.max_tokens = 0}); }), {"--max-tokens 0"}));
  EXPECT_TRUE(mentions(error_of([] { check_request({.top_logprobs = -1}); }), {"--logprobs -1"}));
}

}  // namespace
}  // namespace moebius
