// Batches of windows, drawn from token shards in an order that a seed and a position determine.
// Legend: B sequences of a batch, S tokens of a sequence, S1 = S + 1 (inputs and the last target).
#pragma once

#include "data/shards.h"
#include "data/token_batch.h"

namespace moebius {

/// Windows of the concatenated shards, in batches, for ever. Window i is tokens [i*S, i*S + S], so
/// the last token of one window is the first of the next and every token but the very first is a
/// target at most once per epoch. What the n-th drawn window is depends on (seed, n) alone.
class BatchSampler {
 public:
  /// Throws Error if there are fewer than S1 tokens or the vocabularies differ.
  BatchSampler(std::vector<TokenShard> shards, int batch, int sequence, bool shuffle,
               std::uint64_t seed);

  /// The next B windows, each a sequence of S inputs with the S tokens after them as targets; a
  /// batch may reach into the next epoch.
  TokenBatch next();

  const std::vector<TokenShard>& shards() const { return shards_; }
  int sequence() const { return sequence_; }
  bool shuffles() const { return shuffle_; }
  /// Windows per epoch.
  std::int64_t windows() const { return windows_; }
  /// Windows drawn so far; `seek` to it resumes exactly there.
  std::int64_t position() const { return position_; }
  void seek(std::int64_t position);

 private:
  std::int64_t window_at(std::int64_t position) const;
  void copy_window(std::int64_t window, std::span<std::int32_t> out_S1) const;

  std::vector<TokenShard> shards_;
  std::vector<std::size_t> starts_;  ///< Of each shard in the concatenation, and the end of all.
  int batch_, sequence_;
  bool shuffle_;
  std::uint64_t seed_;
  std::int64_t windows_ = 0;
  std::int64_t position_ = 0;
};

}  // namespace moebius
