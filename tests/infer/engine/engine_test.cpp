#include "infer/engine/engine.h"

#include <ATen/ATen.h>

#include "base/support.h"
#include "model/decoder.h"
#include "model/random_model.h"

namespace moebius {
namespace {

using kernels::PackedType;
using support::error_of;
using support::mentions;
using support::random_model;

using Ids = std::vector<std::int32_t>;

Ids some_ids(std::size_t count, std::int32_t first) {
  Ids ids;
  for (std::size_t i = 0; i < count; ++i)
    ids.push_back(static_cast<std::int32_t>((first + 5 * i * i) % 16));
  return ids;
}

Model long_model() {
  Json config = examples::llama_like("mixtral");
  config["max_position_embeddings"] = 400;
  return random_model(config);
}

class EngineTest : public ::testing::Test {
 protected:
  Engine make(const EngineOptions& options = {}) {
    return Engine(packed_inference(model_, PackedType::f32, 2), options);
  }
  /// Runs an engine dry; tokens of each request.
  static std::map<std::int64_t, Ids> finish(Engine& engine) {
    std::map<std::int64_t, Ids> out;
    while (!engine.idle()) {
      for (const NewToken& token : engine.step()) out[token.request].push_back(token.id);
    }
    return out;
  }
  Ids alone(GenerationRequest request) {
    Engine engine = make();
    const std::int64_t number = engine.add(std::move(request));
    return finish(engine)[number];
  }
  Model model_ = long_model();
};

TEST_F(EngineTest, RequestsSideBySideGiveWhatEachGivesAlone) {
  std::vector<GenerationRequest> requests;
  for (std::int32_t r = 0; r < 5; ++r) {
    requests.push_back({.prompt = some_ids(static_cast<std::size_t>(1 + 40 * r), r),
                        .max_tokens = 3 + 7 * r,
                        .sampling = {.temperature = r % 2 == 0 ? 0.0 : 2.0},
                        .seed = 5,
                        .stream = static_cast<std::uint64_t>(r)});
  }
  for (const std::int64_t per_pass : {7, 512}) {
    Engine engine = make({.tokens_per_pass = per_pass});
    std::map<std::int64_t, std::size_t> numbers;
    std::map<std::int64_t, Ids> said;
    for (std::size_t r = 0; r < requests.size(); ++r) {
      numbers[engine.add(requests[r])] = r;
      if (r == 2) {
        for (int i = 0; i < 3; ++i) {  // what the first ones said by now must not be lost
          for (const NewToken& token : engine.step()) said[token.request].push_back(token.id);
        }
      }
    }
    for (auto& [number, ids] : finish(engine)) {
      said[number].insert(said[number].end(), ids.begin(), ids.end());
    }
    for (const auto& [number, r] : numbers) {
      EXPECT_EQ(said[number], alone(requests[r])) << r;
      EXPECT_EQ(std::ssize(said[number]), requests[r].max_tokens);
    }
  }
}

TEST_F(EngineTest, EndsAtAStopTokenOrTheLimitAndSaysWhich) {
  const Ids said = alone({.prompt = some_ids(5, 1), .max_tokens = 6});
  Engine engine = make();
  engine.add({.prompt = some_ids(5, 1), .max_tokens = 6, .stop_ids = {99, said[2]}});
  std::vector<NewToken> tokens;
  while (!engine.idle()) {
    for (const NewToken& token : engine.step()) tokens.push_back(token);
  }
  const auto first = std::find(said.begin(), said.end(), said[2]) - said.begin();
  ASSERT_EQ(std::ssize(tokens), first + 1);
  EXPECT_EQ(tokens.back().finish, FinishReason::stop);
  engine.add({.prompt = some_ids(5, 1), .max_tokens = 1});
  EXPECT_EQ(engine.step().at(0).finish, FinishReason::length);
}

TEST_F(EngineTest, APromptThatBeginsWithWhatIsOverCostsItsRest) {
  Engine engine = make();
  Ids prompt = some_ids(100, 2);
  engine.add({.prompt = prompt, .max_tokens = 4});
  Ids said;
  while (!engine.idle()) {
    for (const NewToken& token : engine.step()) {
      said.push_back(token.id);
      EXPECT_EQ(token.cached_tokens, 0);
    }
  }
  prompt.insert(prompt.end(), said.begin(), said.end());
  prompt.push_back(7);
  const auto follow = [&](const Ids& ids, std::int64_t cached) {
    const std::int64_t number = engine.add({.prompt = ids, .max_tokens = 3});
    const NewToken token = engine.step().at(0);
    EXPECT_EQ(token.cached_tokens, cached);
    Ids tokens{token.id};
    const Ids rest = finish(engine)[number];
    tokens.insert(tokens.end(), rest.begin(), rest.end());
    EXPECT_EQ(tokens, alone({.prompt = ids, .max_tokens = 3}));
  };
  follow(prompt, 103);  // the last token that was said has not been computed with
  prompt[50] = (prompt[50] + 1) % 16;
  follow(prompt, 50);
  follow(prompt, static_cast<std::int64_t>(prompt.size()) - 1);  // one token has to be computed
  follow({prompt[0]}, 0);
}

TEST_F(EngineTest, CancelledRequestsEndAndTheirTokensAreKept) {
  Engine engine = make();
  const Ids prompt = some_ids(30, 1);
  const std::int64_t a = engine.add({.prompt = prompt, .max_tokens = 50});
  const std::int64_t b = engine.add({.prompt = some_ids(3, 8), .max_tokens = 5});
  engine.step();
  engine.cancel(a);
  engine.cancel(a);
  engine.cancel(77);
  EXPECT_EQ(finish(engine)[b].size(), 4u);
  engine.add({.prompt = prompt, .max_tokens = 2});
  EXPECT_EQ(engine.step().at(0).cached_tokens, 29);
  const std::int64_t waiting = engine.add({.prompt = prompt, .max_tokens = 1});
  engine.cancel(waiting);
  finish(engine);
}

TEST_F(EngineTest, WaitsForRoomInTheCacheAndRefusesWhatNeverFits) {
  const auto probe = packed_inference(model_, PackedType::f32, 1);
  const std::int64_t page = probe->cache_bytes(1);
  EXPECT_EQ(probe->cache_bytes(64), page);
  EXPECT_EQ(probe->cache_bytes(65), 2 * page);
  Engine engine = make({.cache_bytes = 2 * page});
  const GenerationRequest small{.prompt = some_ids(20, 1), .max_tokens = 10};
  Ids expected = alone(small);
  for (int i = 0; i < 5; ++i) {
    engine.add(small);
    engine.add({.prompt = some_ids(20, 3), .max_tokens = 10});
  }
  EXPECT_EQ(engine.step().size(), 2u);  // two fit at once
  const auto said = finish(engine);
  for (std::int64_t i = 2; i < 10; i += 2) EXPECT_EQ(said.at(i), expected);
  const std::string complaint =
      error_of([&] { engine.add({.prompt = some_ids(120, 1), .max_tokens = 30}); });
  EXPECT_TRUE(mentions(complaint, {"150 tokens", "MiB"}));
  EXPECT_NO_THROW(engine.add({.prompt = some_ids(100, 1), .max_tokens = 28}));
  EXPECT_EQ(finish(engine).at(10).size(), 28u);
}

TEST_F(EngineTest, RequestsThatMakeNoSenseAreRefused) {
  Engine engine = make();
  EXPECT_TRUE(mentions(error_of([&] { engine.add({.prompt = some_ids(399, 1), .max_tokens = 2}); }),
                       {"399", "400"}));
  EXPECT_TRUE(mentions(error_of([&] { engine.add({.prompt = {}, .max_tokens = 2}); }), {"tokens"}));
  EXPECT_TRUE(mentions(
      error_of([&] { engine.add({.prompt = {1}, .max_tokens = 2, .sampling = {.top_p = 0}}); }),
      {"top-p"}));
  EXPECT_TRUE(engine.idle());
  EXPECT_TRUE(engine.step().empty());
}

TEST_F(EngineTest, ARequestThatFailsLeavesTheOthersAlone) {
  // One token's embedding is broken, so only texts with it fail.
  model_.weights.embed.plain()[9].fill_(NAN);
  Ids good = some_ids(6, 2);
  std::replace(good.begin(), good.end(), 9, 4);
  model_.weights.head.plain()[9].zero_();
  Engine engine = make();
  const std::int64_t bad = engine.add({.prompt = {1, 9, 2}, .max_tokens = 5});
  const std::int64_t fine = engine.add({.prompt = good, .max_tokens = 2});
  const std::vector<NewToken> tokens = engine.step();
  ASSERT_EQ(tokens.size(), 2u);
  EXPECT_EQ(tokens[0].request, fine);
  EXPECT_EQ(tokens[1].request, bad);
  EXPECT_EQ(tokens[1].finish, FinishReason::failed);
  EXPECT_TRUE(
      mentions(error_of([&] { std::rethrow_exception(tokens[1].error); }), {"in the embedding"}));
  EXPECT_EQ(finish(engine)[fine].size(), 1u);
}

// ---- Shared prefixes ----------------------------------------------------------------------------

TEST_F(EngineTest, SamplesOfOnePromptShareItsPages) {
  const Ids prompt = some_ids(150, 2);
  const auto sample = [&](std::uint64_t stream) {
    return GenerationRequest{.prompt = prompt,
                             .max_tokens = 8,
                             .sampling = {.temperature = 3.0},
                             .seed = 4,
                             .stream = stream};
  };
  Engine engine = make();
  const std::int64_t page = engine.model().cache_bytes(1);
  std::map<std::int64_t, Ids> said;
  std::map<std::int64_t, std::int64_t> cached;
  const auto step = [&] {
    for (const NewToken& token : engine.step()) {
      said[token.request].push_back(token.id);
      cached[token.request] = token.cached_tokens;
    }
  };
  for (std::uint64_t s = 0; s < 4; ++s) engine.add(sample(s));
  step();
  EXPECT_EQ(said.size(), 1u);  // the others wait for the prompt
  EXPECT_EQ(engine.bytes_in_use(), 3 * page);
  step();
  EXPECT_EQ(said.size(), 4u);
  EXPECT_EQ(engine.bytes_in_use(), (3 + 3) * page);  // each has a last page of its own
  while (!engine.idle()) step();
  EXPECT_EQ(cached, (std::map<std::int64_t, std::int64_t>{{0, 0}, {1, 149}, {2, 149}, {3, 149}}));
  for (std::uint64_t s = 0; s < 4; ++s) {
    EXPECT_EQ(said[static_cast<std::int64_t>(s)], alone(sample(s))) << s;
  }
  EXPECT_NE(said[0], said[1]);
}

TEST_F(EngineTest, PromptsThatBeginAlikeShareWholePagesAtOnce) {
  const Ids system = some_ids(140, 2);
  std::vector<GenerationRequest> requests;
  for (std::int32_t r = 0; r < 3; ++r) {
    GenerationRequest& request = requests.emplace_back();
    request.prompt = system;
    request.prompt.insert(request.prompt.end(), {r, 3, 1 + r});
    request.max_tokens = 12;
  }
  // Unshared they would need nine pages.
  const std::int64_t page = make().model().cache_bytes(1);
  for (const std::int64_t pages : {5, 100}) {
    Engine engine = make({.cache_bytes = pages * page, .tokens_per_pass = 100});
    for (const GenerationRequest& request : requests) engine.add(request);
    std::map<std::int64_t, Ids> said;
    std::size_t at_once = 0;
    while (!engine.idle()) {
      const auto tokens = engine.step();
      at_once = std::max(at_once, tokens.size());
      EXPECT_LE(engine.bytes_in_use(), pages * page);
      for (const NewToken& token : tokens) {
        said[token.request].push_back(token.id);
        EXPECT_EQ(token.cached_tokens, token.request == 0 ? 0 : 140);
      }
    }
    EXPECT_EQ(at_once, 3u);
    for (std::size_t r = 0; r < 3; ++r) {
      EXPECT_EQ(said[static_cast<std::int64_t>(r)], alone(requests[r])) << r;
    }
  }
}

TEST_F(EngineTest, BackendsWithoutPagesCopyAPrefix) {
  Engine engine(tensor_inference(model_));
  Ids prompt = some_ids(80, 2);
  engine.add({.prompt = prompt, .max_tokens = 3});
  const Ids first = finish(engine)[0];
  prompt[70] = (prompt[70] + 1) % 16;
  engine.add({.prompt = prompt, .max_tokens = 3});
  EXPECT_EQ(engine.step().at(0).cached_tokens, 70);
  finish(engine);
  engine.add({.prompt = some_ids(80, 2), .max_tokens = 3});  // what was kept is unchanged
  const NewToken token = engine.step().at(0);
  EXPECT_EQ(token.cached_tokens, 79);
  EXPECT_EQ(token.id, first[0]);
}

// ---- Drafts -------------------------------------------------------------------------------------

/// Proposes tokens of a list by position; some of them wrong.
class ListedDrafts : public DraftSource {
 public:
  ListedDrafts(Ids text, std::size_t right_of, std::size_t each)
      : text_(std::move(text)), right_of_(right_of), each_(each) {}

  Ids propose(std::span<const std::int32_t> ids, std::int64_t max) override {
    Ids drafts;
    for (std::size_t i = ids.size(); i < text_.size() && std::ssize(drafts) < max; ++i) {
      const bool right = i % each_ < right_of_;
      drafts.push_back(right ? text_[i] : (text_[i] + 1) % 16);
    }
    return drafts;
  }

 private:
  Ids text_;
  std::size_t right_of_, each_;
};

TEST_F(EngineTest, DraftsChangeTheNumberOfPassesAndNotTheText) {
  for (const double temperature : {0.0, 2.0}) {
    GenerationRequest request{.prompt = some_ids(60, 2),
                              .max_tokens = 31,
                              .sampling = {.temperature = temperature, .repetition_penalty = 1.1},
                              .seed = 3};
    const Ids plain = alone(request);
    Ids text = request.prompt;
    text.insert(text.end(), plain.begin(), plain.end());
    // Right, two of three right, all wrong; each with a neighbour that has no drafts.
    for (const auto& [right_of, passes] : {std::pair<std::size_t, int>{3, 7}, {2, 12}, {0, 31}}) {
      request.drafts = std::make_shared<ListedDrafts>(text, right_of, 3);
      Engine engine = make();
      const std::int64_t number = engine.add(request);
      const GenerationRequest other{.prompt = some_ids(9, 5), .max_tokens = 20};
      const std::int64_t neighbour = engine.add(other);
      std::map<std::int64_t, Ids> said;
      int needed = 0;
      while (!engine.idle()) {
        for (const NewToken& token : engine.step()) said[token.request].push_back(token.id);
        if (std::ssize(said[number]) < 31) ++needed;
      }
      EXPECT_EQ(said[number], plain) << right_of;
      EXPECT_EQ(said[neighbour], alone(other));
      EXPECT_EQ(needed + 1, passes) << right_of;
    }
  }
}

TEST_F(EngineTest, DraftsEndAtAStopTokenAndOutsideTheVocabulary) {
  const Ids plain = alone({.prompt = some_ids(20, 2), .max_tokens = 9});
  Ids text = some_ids(20, 2);
  text.insert(text.end(), plain.begin(), plain.end());
  GenerationRequest request{.prompt = some_ids(20, 2), .max_tokens = 9};
  request.stop_ids = {plain[3]};
  request.drafts = std::make_shared<ListedDrafts>(text, 1, 1);
  const auto first = std::find(plain.begin(), plain.end(), plain[3]);
  EXPECT_EQ(alone(request), Ids(plain.begin(), first + 1));
  request.stop_ids.clear();
  text[22] = 999;
  request.drafts = std::make_shared<ListedDrafts>(text, 1, 1);
  EXPECT_EQ(alone(request), plain);
  // A rejected draft leaves nothing in the kept cache.
  Engine engine = make();
  engine.add(request);
  finish(engine);
  Ids longer = some_ids(20, 2);
  longer.insert(longer.end(), plain.begin(), plain.end());
  engine.add({.prompt = longer, .max_tokens = 3});
  EXPECT_EQ(finish(engine)[1], alone({.prompt = longer, .max_tokens = 3}));
}

// ---- What a token carries -----------------------------------------------------------------------

TEST_F(EngineTest, TokensCarryTheLogProbsOfTheModel) {
  for (const bool packed : {true, false}) {
    Engine engine(packed ? packed_inference(model_, PackedType::f32, 2) : tensor_inference(model_));
    GenerationRequest request{
        .prompt = some_ids(5, 1),
        .max_tokens = 6,
        .sampling = {.temperature = 2.0, .top_k = 5, .repetition_penalty = 1.5},
        .top_logprobs = 4};
    engine.add(request);
    Ids ids = request.prompt;
    while (!engine.idle()) {
      for (const NewToken& token : engine.step()) {
        const at::InferenceMode inference;
        const at::Tensor logits = support::logits_of(model_, ids_tensor(ids))[0][-1];
        const at::Tensor log_p = at::log_softmax(logits.to(at::kDouble), -1);
        EXPECT_NEAR(token.log_prob, log_p[token.id].item<double>(), 1e-5);
        const auto [best, places] = log_p.topk(4);
        ASSERT_EQ(token.top.size(), 4u);
        for (std::int64_t i = 0; i < 4; ++i) {
          const TokenLogProb& top = token.top[static_cast<std::size_t>(i)];
          EXPECT_NEAR(top.log_prob, best[i].item<double>(), 1e-5);
          EXPECT_EQ(top.id, places[i].item<std::int64_t>());
        }
        ids.push_back(token.id);
      }
    }
  }
}

TEST_F(EngineTest, TokensCarryTheExpertsThatTheirScoresWereComputedWith) {
  const GenerationRequest plain{.prompt = some_ids(70, 4), .max_tokens = 6};
  const Ids said = alone(plain);
  Ids text = plain.prompt;
  text.insert(text.end(), said.begin(), said.end());
  const at::InferenceMode inference;
  const auto routings =
      decode(model_.spec, model_.weights, ids_tensor(text), nullptr, at::kFloat).routings;
  for (const bool packed : {true, false}) {
    for (const bool drafts : {false, true}) {
      Engine engine(packed ? packed_inference(model_, PackedType::f32, 2)
                           : tensor_inference(model_));
      engine.add({.prompt = some_ids(9, 1), .max_tokens = 20});  // rows before the others
      GenerationRequest request = plain;
      request.report_experts = true;
      if (drafts) request.drafts = std::make_shared<ListedDrafts>(text, 2, 3);
      const std::int64_t number = engine.add(request);
      std::int64_t position = 69;
      while (!engine.idle()) {
        for (const NewToken& token : engine.step()) {
          if (token.request != number) {
            EXPECT_TRUE(token.experts.empty());
            continue;
          }
          ASSERT_EQ(token.experts.size(), model_.spec.layers.size());
          for (std::size_t l = 0; l < token.experts.size(); ++l) {
            const at::Tensor expected = routings[l].ids_TK[position].to(at::kInt);
            const auto* ids = expected.const_data_ptr<std::int32_t>();
            EXPECT_EQ(token.experts[l], Ids(ids, ids + expected.numel())) << position;
          }
          ++position;
        }
      }
      EXPECT_EQ(position, 75);
    }
  }
}

}  // namespace
}  // namespace moebius
