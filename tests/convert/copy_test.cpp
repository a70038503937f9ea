#include "convert/copy.h"

#include <limits>

#include "base/digest.h"
#include "convert/written_source.h"

namespace moebius {
namespace {

using examples::config_of;
using support::error_of;
using support::mentions;
using support::TempDir;
using support::WrittenSources;

class Copy : public ::testing::Test {
 protected:
  OutputPlan plan(const Sources& sources) { return plan_source(sources, options_, ctx_); }
  CopyResult copy(const Sources& sources, const OutputPlan& plan, std::size_t shard = SIZE_MAX) {
    return copy_weights(sources, plan, out_.path(), shard, ctx_, cancel_);
  }
  TempDir out_;
  ConvertOptions options_;
  Context ctx_;
  std::atomic<bool> cancel_{false};
};

TEST_F(Copy, WhatStaysKeepsItsBitsInOneFileAndInMany) {
  for (const char* family : {"llama", "gpt2", "granitemoe", "deepseek_v3"}) {
    for (const std::size_t shard : {SIZE_MAX, std::size_t{1000}}) {
      const WrittenSources written(config_of(family), ExpertLayout::usual);
      const TempDir out;
      const CopyResult result =
          copy_weights(written.sources, plan(written.sources), out.path(), shard, ctx_, cancel_);
      EXPECT_EQ(result.bytes, written.first().index.bytes());
      const auto index = CheckpointIndex::open(out.path());
      EXPECT_EQ(index.files().size() > 1, shard == 1000) << family;
      for (const TensorEntry& entry : written.first().index.tensors()) {
        const TensorEntry* copied = index.find(entry.name);
        ASSERT_NE(copied, nullptr) << entry.name;
        EXPECT_EQ(copied->shape, entry.shape);
        EXPECT_TRUE(std::equal(entry.data, entry.data + entry.bytes, copied->data)) << entry.name;
      }
    }
  }
}

TEST_F(Copy, DigestsAreThoseOfTheWholeFiles) {
  WrittenSources written(config_of("mixtral"), ExpertLayout::fused);
  written.add();
  const CopyResult result = copy(written.sources, plan(written.sources));
  ASSERT_EQ(result.digests.size(), 2u);
  for (std::size_t s = 0; s < 2; ++s) {
    const fs::path file = written.sources[s].directory / "model.safetensors";
    EXPECT_EQ(result.digests[s].at("model.safetensors"), digest_of(read_file(file)));
  }
}

TEST_F(Copy, AWeightThatIsNotFiniteIsNamed) {
  const WrittenSources written(config_of("llama"), ExpertLayout::usual);
  const std::string name = "model.layers.1.mlp.up_proj.weight";
  const TensorEntry* entry = written.first().index.find(name);
  const auto at = static_cast<std::size_t>(entry->data - entry->file->bytes().data()) + 5 * 4;
  const float bad = std::numeric_limits<float>::infinity();
  std::fstream file(written.first().directory / "model.safetensors",
                    std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(static_cast<std::streamoff>(at));
  file.write(reinterpret_cast<const char*>(&bad), sizeof bad);
  file.close();
  const OutputPlan all = plan(written.sources);
  EXPECT_TRUE(mentions(error_of([&] { copy(written.sources, all); }), {"model.safetensors", name}));
}

TEST_F(Copy, ACancelledOneReturnsWithoutAnIndex) {
  const WrittenSources written(config_of("llama"), ExpertLayout::usual);
  cancel_ = true;
  copy(written.sources, plan(written.sources), 1000);
  EXPECT_FALSE(fs::exists(out_.path() / "model.safetensors.index.json"));
}

}  // namespace
}  // namespace moebius
