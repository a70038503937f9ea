#include "train/checkpoint.h"

#include "base/support.h"
#include "model/random_model.h"
#include "train/adamw.h"

namespace moebius {
namespace {

using support::error_of;
using support::mentions;
using support::names_in;
using support::normal_tensor;
using support::random_model;
using support::TempDir;
using Names = std::vector<std::string>;

/// A model in training: a run directory, weights, an optimiser that has done some steps.
struct Training {
  explicit Training(Json json, std::uint64_t seed = 1, const std::string& train = "all")
      : config(std::move(json)),
        model(random_model(config, seed)),
        optimizer(select_parameters(model.weights, train), AdamWOptions{}) {}

  void step(std::uint64_t seed) {
    for (const Parameter& p : optimizer.parameters()) {
      p.value.mutable_grad() = normal_tensor(p.value.sizes(), seed ^ stream_of(p.name));
    }
    optimizer.step(0.01, 1);
  }
  void save(const fs::path& run, std::int64_t step, std::int64_t keep = 2) {
    const Origin origin{config.dump(), run, {}};
    save_checkpoint(run, {step, 10 * step, 1.5, {{"position", 100 * step}}}, model, origin,
                    optimizer, keep, SIZE_MAX);
  }
  void expect_equal(Training& other) {
    for_each_weight(
        [&](const std::string& slot, const at::Tensor& a, const at::Tensor& b) {
          if (a.defined()) {
            EXPECT_TRUE(at::equal(a, b)) << slot;
          }
        },
        model.weights, other.model.weights);
    const auto ours = optimizer.state(), theirs = other.optimizer.state();
    ASSERT_EQ(ours.size(), theirs.size());
    for (std::size_t i = 0; i < ours.size(); ++i) {
      EXPECT_EQ(ours[i].first, theirs[i].first);
      EXPECT_TRUE(at::equal(ours[i].second, theirs[i].second)) << ours[i].first;
    }
  }

  Json config;
  Model model;
  AdamW optimizer;
};

TEST(Checkpoint, RestoresWeightsMomentsAndStateBitForBit) {
  for (const Json& config : {examples::overlay_of("llama"), examples::gpt2()}) {
    const TempDir dir;
    Training before(config), after(config, 2);
    for (std::uint64_t s = 0; s < 3; ++s) before.step(s);
    before.save(dir.path(), 3);
    const auto state = load_checkpoint(dir.path(), after.model, after.optimizer);
    ASSERT_TRUE(state);
    EXPECT_EQ(state->step, 3);
    EXPECT_EQ(state->tokens, 30);
    EXPECT_EQ(state->objective, Json({{"position", 300}}));
    EXPECT_EQ(state->seconds, 1.5);
    after.expect_equal(before);
    before.step(9);
    after.step(9);
    after.expect_equal(before);  // and they go on alike
  }
}

TEST(Checkpoint, AnEmptyRunHasNone) {
  const TempDir dir;
  Training run(examples::llama_like("llama"));
  EXPECT_FALSE(load_checkpoint(dir.path(), run.model, run.optimizer));
}

TEST(Checkpoint, HoldsAModelThatCanBeOpened) {
  const TempDir dir;
  Training run(examples::llama_like("mixtral"));
  run.step(1);
  run.save(dir.path(), 1);
  const Model opened = load_model(dir.path() / "checkpoint-1", std::nullopt, at::kCPU);
  EXPECT_TRUE(at::equal(opened.weights.embed, run.model.weights.embed));
}

TEST(Checkpoint, LatestNamesTheLastAndOldOnesGo) {
  const TempDir dir;
  Training run(examples::llama_like("llama"));
  for (const std::int64_t step : {9, 10, 11}) {  // by number, not by name
    run.step(static_cast<std::uint64_t>(step));
    run.save(dir.path(), step);
    EXPECT_EQ(read_file(dir.path() / "latest"), fmt::format("checkpoint-{}\n", step));
  }
  EXPECT_EQ(names_in(dir.path()), (Names{"checkpoint-10", "checkpoint-11", "latest"}));
  run.save(dir.path(), 12, 1);
  EXPECT_EQ(names_in(dir.path()), (Names{"checkpoint-12", "latest"}));
}

TEST(Checkpoint, SavingTheSameStepAgainReplacesIt) {
  const TempDir dir;
  Training run(examples::llama_like("llama")), after(examples::llama_like("llama"), 2);
  run.save(dir.path(), 4);
  run.step(1);
  run.save(dir.path(), 4);
  ASSERT_TRUE(load_checkpoint(dir.path(), after.model, after.optimizer));
  after.expect_equal(run);
}

TEST(Checkpoint, TheOneThatLatestNamesIsNeverRemoved) {
  const TempDir dir;  // killed between checkpoint-10 and its `latest`, resumed from an older one
  Training run(examples::llama_like("llama"));
  run.save(dir.path(), 10, 1);
  run.save(dir.path(), 5, 1);
  EXPECT_EQ(read_file(dir.path() / "latest"), "checkpoint-5\n");
  EXPECT_TRUE(fs::exists(dir.path() / "checkpoint-5"));
}

TEST(Checkpoint, WhatDoesNotFitIsNamed) {
  const TempDir dir;
  Training run(examples::llama_like("llama"));
  run.save(dir.path(), 1);
  Json wide = examples::llama_like("llama");
  wide["intermediate_size"] = 10;
  Training other(wide);
  EXPECT_TRUE(mentions(error_of([&] { load_checkpoint(dir.path(), other.model, other.optimizer); }),
                       {"checkpoint-1", "ffn", "another shape"}));
}

TEST(Checkpoint, ADenseRunDoesNotResumeAnMoe) {
  const TempDir dir;
  Training moe(examples::overlay_of("llama")), dense(examples::llama_like("llama"));
  moe.save(dir.path(), 1);
  EXPECT_TRUE(mentions(error_of([&] { load_checkpoint(dir.path(), dense.model, dense.optimizer); }),
                       {"checkpoint-1", "another model", "--init"}));
}

TEST(Checkpoint, ResumingWithOtherParametersIsAnErrorWithAHint) {
  const TempDir dir;
  Training routers(examples::overlay_of("llama"), 1, "router"), all(examples::overlay_of("llama"));
  routers.save(dir.path(), 1);
  EXPECT_TRUE(mentions(error_of([&] { load_checkpoint(dir.path(), all.model, all.optimizer); }),
                       {"checkpoint-1", "adamw.moment1.embed.weight", "--train"}));
}

TEST(Checkpoint, ALatestThatNamesNoneIsAnError) {
  Training run(examples::llama_like("llama"));
  for (const char* text : {"../elsewhere\n", "", "model\n", "checkpoint-1/../../x"}) {
    const TempDir dir;
    dir.write("latest", text);
    EXPECT_TRUE(mentions(error_of([&] { load_checkpoint(dir.path(), run.model, run.optimizer); }),
                         {"latest", "not the name of a checkpoint"}));
  }
}

}  // namespace
}  // namespace moebius
