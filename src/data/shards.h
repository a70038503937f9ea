// Token shards: a corpus as ids on disk, mapped into memory, and the batches drawn from it.
// Legend: B batch, S sequence, S1 = S + 1 (inputs and the target behind the last of them).
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <vector>

#include "base/files.h"

namespace moebius {

/// Writes a shard atomically: magic "MOEBTOK1", u32 vocabulary size, u32 bytes per token (2 up to
/// 65,536 entries, else 4), u64 count, then the ids; all little-endian. Throws Error on no ids or
/// an id outside the vocabulary.
void write_token_shard(const fs::path& file, std::span<const std::int32_t> ids,
                       std::int32_t vocab_size);

/// A shard mapped for reading. Cheap to copy: copies share the mapping.
class TokenShard {
 public:
  /// Checks the header against the file's size; throws Error naming the file.
  static TokenShard open(const fs::path& file);

  const fs::path& path() const { return file_->path(); }
  std::int32_t vocab_size() const { return vocab_size_; }
  std::size_t size() const { return size_; }
  /// `at` < size(). Unchecked; `copy` is the checked way.
  std::int32_t operator[](std::size_t at) const;
  /// Ids [begin, begin + out.size()); throws Error naming the file and the position of an id
  /// outside the vocabulary, or if the range leaves the shard.
  void copy(std::size_t begin, std::span<std::int32_t> out) const;

 private:
  TokenShard() = default;
  std::shared_ptr<const MappedFile> file_;
  std::int32_t vocab_size_ = 0;
  std::size_t token_bytes_ = 0;
  std::size_t size_ = 0;
};

/// Windows of the concatenated shards, in batches, for ever. Window i is tokens [i*S, i*S + S], so
/// the last token of one window is the first of the next and every token but the very first is a
/// target at most once per epoch. What the n-th drawn window is depends on (seed, n) alone.
class BatchSampler {
 public:
  /// Throws Error if there are fewer than S1 tokens or the vocabularies differ.
  BatchSampler(std::vector<TokenShard> shards, int batch, int sequence, bool shuffle,
               std::uint64_t seed);

  /// Draws the next B windows; a batch may reach into the next epoch.
  void next(std::span<std::int32_t> out_B_S1);

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
