// Token shards: a corpus as ids on disk, mapped into memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/files.h"

namespace moebius {

/// Writes a shard atomically: magic "MOEBTOK2", u32 vocabulary size, u32 bytes per token (2 up to
/// 65,536 entries, else 4), u64 count, 32 characters of digest, then the ids; all little-endian.
/// `source_digest`, 32 hexadecimal digits, stands for all that the ids were made from. Throws Error
/// on no ids, an id outside the vocabulary, or a digest of another form.
void write_token_shard(const fs::path& file, std::span<const std::int32_t> ids,
                       std::int32_t vocab_size, const std::string& source_digest);

/// A shard mapped for reading. Cheap to copy: copies share the mapping.
class TokenShard {
 public:
  /// Checks the header against the file's size; throws Error naming the file.
  static TokenShard open(const fs::path& file);

  const fs::path& path() const { return file_->path(); }
  std::int32_t vocab_size() const { return vocab_size_; }
  std::size_t size() const { return size_; }
  /// As `write_token_shard` was given it.
  const std::string& source_digest() const { return source_digest_; }
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
  std::string source_digest_;
};

}  // namespace moebius
