#include "infer/engine.h"

#include "base/support.h"
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
  Ids alone(Request request) {
    Engine engine = make();
    const std::int64_t number = engine.add(std::move(request));
    return finish(engine)[number];
  }
  Model model_ = long_model();
};

TEST_F(EngineTest, RequestsSideBySideGiveWhatEachGivesAlone) {
  std::vector<Request> requests;
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
  EXPECT_EQ(tokens.back().finish, Finish::stop);
  engine.add({.prompt = some_ids(5, 1), .max_tokens = 1});
  EXPECT_EQ(engine.step().at(0).finish, Finish::length);
}

TEST_F(EngineTest, APromptThatBeginsWithWhatIsOverCostsItsRest) {
  Engine engine = make();
  Ids prompt = some_ids(100, 2);
  const std::int64_t first = engine.add({.prompt = prompt, .max_tokens = 4});
  Ids said;
  while (!engine.idle()) {
    for (const NewToken& token : engine.step()) said.push_back(token.id);
    EXPECT_EQ(engine.cached_tokens(first), 0);
  }
  prompt.insert(prompt.end(), said.begin(), said.end());
  prompt.push_back(7);
  const auto follow = [&](const Ids& ids, std::int64_t cached) {
    const std::int64_t number = engine.add({.prompt = ids, .max_tokens = 3});
    const NewToken token = engine.step().at(0);
    EXPECT_EQ(engine.cached_tokens(number), cached);
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
  const std::int64_t c = engine.add({.prompt = prompt, .max_tokens = 2});
  engine.step();
  EXPECT_EQ(engine.cached_tokens(c), 29);
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
  const Request small{.prompt = some_ids(20, 1), .max_tokens = 10};
  Ids expected = alone(small);
  for (int i = 0; i < 5; ++i) engine.add(small);
  EXPECT_EQ(engine.step().size(), 2u);  // two fit at once
  const auto said = finish(engine);
  for (std::int64_t i = 2; i < 5; ++i) EXPECT_EQ(said.at(i), expected);
  const std::string complaint =
      error_of([&] { engine.add({.prompt = some_ids(120, 1), .max_tokens = 30}); });
  EXPECT_TRUE(mentions(complaint, {"150 tokens", "MiB"}));
  EXPECT_NO_THROW(engine.add({.prompt = some_ids(100, 1), .max_tokens = 28}));
  EXPECT_EQ(finish(engine).at(5).size(), 28u);
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
  EXPECT_EQ(tokens[1].finish, Finish::failed);
  EXPECT_TRUE(
      mentions(error_of([&] { std::rethrow_exception(tokens[1].error); }), {"in the embedding"}));
  EXPECT_EQ(finish(engine)[fine].size(), 1u);
}

}  // namespace
}  // namespace moebius
