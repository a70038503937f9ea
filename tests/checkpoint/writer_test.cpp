#include "checkpoint/writer.h"

#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/random.h"
#include "base/support.h"
#include "checkpoint/index.h"

namespace moebius {
namespace {

using support::error_of;
using support::mentions;
using support::names_in;
using support::TempDir;
using Names = std::vector<std::string>;

std::string bytes_of(const TensorEntry& entry) {
  return {reinterpret_cast<const char*>(entry.data), entry.bytes};
}

/// Tensors of odd sizes and every dtype, with random bytes.
struct Tensors {
  std::vector<TensorMeta> metas{{"a", DType::f32, {3, 5}},    {"b.weight", DType::bf16, {7}},
                                {"quo\"te", DType::f16, {1}}, {"scalar", DType::f64, {}},
                                {"bytes", DType::u8, {13}},   {"empty", DType::f32, {0, 4}},
                                {"\xC3\xA4", DType::i8, {3}}, {"last", DType::i64, {2, 1}}};
  std::vector<std::string> data;

  Tensors() {
    for (const TensorMeta& meta : metas) {
      std::size_t size = size_of(meta.dtype);
      for (const std::int64_t n : meta.shape) size *= static_cast<std::size_t>(n);
      std::string bytes(size, '\0');
      for (std::size_t i = 0; i < size; ++i) {
        bytes[i] = static_cast<char>(Random(1, data.size()).bits(i));
      }
      data.push_back(std::move(bytes));
    }
  }
  std::span<const std::byte> bytes(std::size_t t) const {
    return std::as_bytes(std::span(data[t]));
  }
  void expect_in(const fs::path& directory) const {
    const auto index = CheckpointIndex::open(directory);
    EXPECT_EQ(index.tensors().size(), metas.size());
    for (std::size_t t = 0; t < metas.size(); ++t) {
      const TensorEntry* entry = index.find(metas[t].name);
      ASSERT_NE(entry, nullptr) << metas[t].name;
      EXPECT_EQ(entry->dtype, metas[t].dtype);
      EXPECT_EQ(entry->shape, metas[t].shape);
      EXPECT_EQ(bytes_of(*entry), data[t]) << metas[t].name;
    }
  }
};

TEST(ShardedWriter, WhatFitsGoesIntoOneFileAndComesBack) {
  const TempDir dir;
  const Tensors tensors;
  ShardedWriter writer(dir.path(), tensors.metas, 1 << 20);
  for (std::size_t t = 0; t < tensors.metas.size(); ++t) writer.write(t, tensors.bytes(t));
  writer.finish();
  EXPECT_EQ(writer.total_bytes(), 60u + 14 + 2 + 8 + 13 + 0 + 3 + 16);
  EXPECT_EQ(names_in(dir.path()), Names{"model.safetensors"});
  tensors.expect_in(dir.path());
}

TEST(ShardedWriter, BytesMayComeInAnyOrderAndInPieces) {
  const TempDir dir;
  const Tensors tensors;
  ShardedWriter writer(dir.path(), tensors.metas, 40);
  for (std::size_t t = tensors.metas.size(); t-- > 0;) {
    const auto bytes = tensors.bytes(t);
    for (std::size_t end = bytes.size(); end > 0;) {  // backwards, 5 bytes at a time
      const std::size_t begin = end - std::min<std::size_t>(5, end);
      writer.write(t, begin, bytes.subspan(begin, end - begin));
      end = begin;
    }
  }
  writer.finish();
  tensors.expect_in(dir.path());
}

TEST(ShardedWriter, ShardsAtTheLimitAndNeverSplitsATensor) {
  const std::vector<std::pair<std::size_t, std::size_t>> limits_and_shards{
      {116, 1}, {115, 2}, {74, 2}, {60, 2}, {59, 2}, {16, 5}, {1, 7}, {0, 7}};
  for (const auto& [limit, shards] : limits_and_shards) {
    const TempDir dir;
    const Tensors tensors;
    ShardedWriter writer(dir.path(), tensors.metas, limit);
    for (std::size_t t = 0; t < tensors.metas.size(); ++t) writer.write(t, tensors.bytes(t));
    writer.finish();
    tensors.expect_in(dir.path());
    EXPECT_EQ(names_in(dir.path()).size(), shards == 1 ? 1 : shards + 1) << "limit " << limit;
    const auto index = CheckpointIndex::open(dir.path());
    for (const auto& file : index.files()) {
      std::size_t bytes = 0, filled = 0;
      for (const TensorEntry& entry : read_safetensors(file->path())) {
        bytes += entry.bytes;
        filled += entry.bytes > 0;
      }
      EXPECT_TRUE(bytes <= limit || filled == 1) << "limit " << limit << ", shard of " << bytes;
    }
  }
}

TEST(ShardedWriter, TheIndexNamesEveryTensorsShard) {
  const TempDir dir;
  const std::vector<TensorMeta> metas{
      {"a", DType::f32, {2}}, {"b", DType::f32, {2}}, {"c", DType::f32, {1}}};
  ShardedWriter writer(dir.path(), metas, 12);
  const std::string zeros(8, '\0');
  for (std::size_t t = 0; t < 3; ++t) {
    writer.write(t, std::as_bytes(std::span(zeros)).first(t == 2 ? 4 : 8));
  }
  EXPECT_FALSE(fs::exists(dir.path() / "model.safetensors.index.json"));  // comes last
  writer.finish();
  EXPECT_EQ(names_in(dir.path()),
            (Names{"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
                   "model.safetensors.index.json"}));
  const Json index = parse_json_file(dir.path() / "model.safetensors.index.json");
  EXPECT_EQ(index["metadata"]["total_size"], 20);
  EXPECT_EQ(index["weight_map"]["a"], "model-00001-of-00002.safetensors");
  EXPECT_EQ(index["weight_map"]["b"], "model-00002-of-00002.safetensors");
  EXPECT_EQ(index["weight_map"]["c"], "model-00002-of-00002.safetensors");
  EXPECT_EQ(index["weight_map"].size(), 3u);
}

TEST(ShardedWriter, DataBeginsAlignedAndTheHeaderSaysFormatPt) {
  for (std::size_t extra = 0; extra < 70; ++extra) {  // every remainder of the header's length
    const std::string header =
        safetensors_header({{"n" + std::string(extra, 'x'), DType::f32, {1}, 0, 4}});
    ASSERT_EQ(header.size() % 64, 0u);
    std::uint64_t length = 0;
    std::memcpy(&length, header.data(), sizeof length);
    ASSERT_EQ(length + 8, header.size());
    ASSERT_EQ(parse_json(header.substr(8), "header")["__metadata__"]["format"], "pt");
  }
}

TEST(ShardedWriter, FinishRefusesMissingBytes) {
  const TempDir dir;
  ShardedWriter writer(dir.path(), {{"a", DType::u8, {4}}, {"b", DType::u8, {4}}}, 100);
  const std::string data(4, 'x');
  writer.write(0, std::as_bytes(std::span(data)));
  writer.write(1, 1, std::as_bytes(std::span(data)).first(3));
  EXPECT_TRUE(mentions(error_of([&] { writer.finish(); }), {dir.path().string(), "7 of 8 bytes"}));
  writer.write(1, 0, std::as_bytes(std::span(data)).first(1));
  EXPECT_EQ(error_of([&] { writer.finish(); }), "no error");
}

TEST(ShardedWriter, MoreBytesThanAnnouncedNameTheTensor) {
  const TempDir dir;
  ShardedWriter writer(dir.path(), {{"a", DType::u8, {4}}, {"b", DType::u8, {4}}}, 100);
  const std::string data(5, 'x');
  EXPECT_TRUE(
      mentions(error_of([&] { writer.write(0, std::as_bytes(std::span(data))); }), {"a: more"}));
  EXPECT_TRUE(mentions(
      error_of([&] { writer.write(1, 4, std::as_bytes(std::span(data)).first(1)); }), {"b: more"}));
}

TEST(ParseSize, KnowsTheUnitsAndNothingElse) {
  EXPECT_EQ(parse_size("5GB", "--x"), 5'000'000'000u);
  EXPECT_EQ(parse_size("300MB", "--x"), 300'000'000u);
  EXPECT_EQ(parse_size("1.5KB", "--x"), 1500u);
  EXPECT_EQ(parse_size("4GiB", "--x"), std::size_t{4} << 30);
  EXPECT_EQ(parse_size("17", "--x"), 17u);
  EXPECT_EQ(parse_size("17B", "--x"), 17u);
  for (const char* bad : {"", "GB", "-1GB", "0", "5gb", "5 GB", "5GBs", "1e30GB", "nan", "inf"}) {
    EXPECT_THROW(parse_size(bad, "--max-shard-size"), UsageError) << bad;
    EXPECT_TRUE(
        mentions(error_of([&] { parse_size(bad, "--max-shard-size"); }), {"--max-shard-size"}));
  }
}

}  // namespace
}  // namespace moebius
