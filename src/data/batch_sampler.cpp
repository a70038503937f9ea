// The order of windows is a Feistel network over [0, 4^k) with cycle walking: a permutation that
// takes no memory and can be entered anywhere, so that resuming a run is an assignment.
#include "data/batch_sampler.h"

#include <algorithm>
#include <string>

#include "base/error.h"
#include "base/random.h"

namespace moebius {
namespace {

constexpr int kRounds = 8;

/// Where `index` goes in the permutation of [0, count) that `keys` choose.
std::uint64_t permute(std::uint64_t index, std::uint64_t count, const Random& keys) {
  int half = 1;
  while (half < 31 && (std::uint64_t{1} << (2 * half)) < count) ++half;
  const std::uint64_t mask = (std::uint64_t{1} << half) - 1;
  do {
    std::uint64_t left = index >> half, right = index & mask;
    for (int round = 0; round < kRounds; ++round) {
      const std::uint64_t turned =
          left ^ (keys.bits((right << 3) | static_cast<unsigned>(round)) & mask);
      left = right;
      right = turned;
    }
    index = (left << half) | right;
  } while (index >= count);
  return index;
}

}  // namespace

BatchSampler::BatchSampler(std::vector<TokenShard> shards, int batch, int sequence, bool shuffle,
                           std::uint64_t seed)
    : shards_(std::move(shards)),
      batch_(batch),
      sequence_(sequence),
      shuffle_(shuffle),
      seed_(seed) {
  if (batch < 1) fail("batch is {}, must be at least 1", batch);
  if (sequence < 1) fail("sequence is {}, must be at least 1", sequence);
  starts_.push_back(0);
  for (const TokenShard& shard : shards_) {
    if (shard.vocab_size() != shards_.front().vocab_size()) {
      fail("{} has a vocabulary of {}, {} one of {}", shards_.front().path().string(),
           shards_.front().vocab_size(), shard.path().string(), shard.vocab_size());
    }
    starts_.push_back(starts_.back() + shard.size());
  }
  const std::size_t tokens = starts_.back(), needed = static_cast<std::size_t>(sequence) + 1;
  if (tokens < needed) {
    throw Error(fmt::format("{} tokens of text, a sequence of {} needs at least {}", tokens,
                            sequence, needed),
                "give more text or a shorter sequence");
  }
  windows_ = static_cast<std::int64_t>((tokens - 1) / static_cast<std::size_t>(sequence));
}

TokenBatch BatchSampler::next() {
  TokenBatch batch;
  std::vector<std::int32_t> window_S1(static_cast<std::size_t>(sequence_) + 1);
  for (int row = 0; row < batch_; ++row) {
    copy_window(window_at(position_ + row), window_S1);
    batch.add_next_token(window_S1);
  }
  position_ += batch_;
  return batch;
}

void BatchSampler::seek(std::int64_t position) {
  if (position < 0) fail("[BatchSampler] cannot seek to {}", position);
  position_ = position;
}

std::int64_t BatchSampler::window_at(std::int64_t position) const {
  const std::int64_t within = position % windows_;
  if (!shuffle_) return within;
  const auto epoch = static_cast<std::uint64_t>(position / windows_);
  const Random keys(seed_, stream_of("batch order") + epoch);
  return static_cast<std::int64_t>(
      permute(static_cast<std::uint64_t>(within), static_cast<std::uint64_t>(windows_), keys));
}

void BatchSampler::copy_window(std::int64_t window, std::span<std::int32_t> out_S1) const {
  std::size_t at = static_cast<std::size_t>(window) * static_cast<std::size_t>(sequence_);
  auto next_start = std::upper_bound(starts_.begin(), starts_.end(), at);
  while (!out_S1.empty()) {
    const auto shard = static_cast<std::size_t>(next_start - starts_.begin()) - 1;
    const std::size_t part = std::min(*next_start - at, out_S1.size());
    shards_[shard].copy(at - starts_[shard], out_S1.first(part));
    out_S1 = out_S1.subspan(part);
    at += part;
    ++next_start;
  }
}

}  // namespace moebius
