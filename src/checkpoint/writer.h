// Writer of safetensors files, sharded by size. The layout is known before the first byte, so
// tensors may be written in any order, in pieces, and from several threads.
#pragma once

#include <atomic>
#include <span>
#include <vector>

#include "checkpoint/safetensors.h"

namespace moebius {

/// Name, dtype and shape of a tensor that will be written.
struct TensorMeta {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;
};

/// Parses sizes such as "5GB" or "300MB" (powers of ten, as Hugging Face counts) and "4GiB".
/// Throws UsageError naming `option`.
std::size_t parse_size(std::string_view text, std::string_view option);

class ShardedWriter {
 public:
  /// Assigns the tensors, in the order given, to `model.safetensors` if they fit into
  /// `max_shard_bytes`, else into `model-00001-of-0000N.safetensors` and an index; a tensor is
  /// never split. Creates the files in `directory` and writes their headers. Throws Error if the
  /// disk has too little space.
  ShardedWriter(const fs::path& directory, const std::vector<TensorMeta>& tensors,
                std::size_t max_shard_bytes);

  /// Writes bytes of tensor number `tensor` (in the constructor's list) from byte `offset` on.
  /// Distinct ranges may be written from distinct threads.
  void write(std::size_t tensor, std::size_t offset, std::span<const std::byte> bytes);
  void write(std::size_t tensor, std::span<const std::byte> bytes) { write(tensor, 0, bytes); }

  /// Writes the index. Throws Error if fewer bytes were written than the layout has. Does not sync:
  /// that is done when the directory is committed.
  void finish();

  std::size_t total_bytes() const { return total_; }

 private:
  struct Place {
    std::size_t shard, offset, bytes;
  };
  fs::path directory_;
  std::vector<OutputFile> shards_;
  std::vector<Place> places_;
  std::vector<std::string> names_;
  std::size_t total_ = 0;
  std::atomic<std::size_t> written_ = 0;
};

}  // namespace moebius
