// All tensors of a checkpoint directory, memory-mapped, and the check that they are exactly those
// that the model asks for. `open_checkpoint` (checkpoint.h) does both.
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/safetensors.h"
#include "config/families.h"

namespace moebius {

/// A format of weight files in a directory: one file, or the shards that an index lists (empty if
/// the format has none).
struct WeightFormat {
  std::string_view file, index;
  std::vector<TensorEntry> (*read)(const fs::path& file);
};
/// In the order of precedence, which is that of transformers.
std::span<const WeightFormat> weight_formats();

/// The file of each tensor according to an index (`model.safetensors.index.json`). Throws Error for
/// names that are not those of files in its own directory.
std::map<std::string, std::string> read_weight_map(const fs::path& index_file);

/// The tensors of the weight files of a directory, of the first format found.
class CheckpointIndex {
 public:
  /// Throws Error for missing shards, tensors in another shard than the index says, and an index
  /// that points outside the directory.
  static CheckpointIndex open(const fs::path& directory);

  /// Null if there is no such tensor.
  const TensorEntry* find(std::string_view name) const;
  /// In the order of files and of data inside them.
  const std::vector<TensorEntry>& tensors() const { return tensors_; }
  /// Weight files, in the order of their names.
  const std::vector<std::shared_ptr<const MappedFile>>& files() const { return files_; }
  const fs::path& directory() const { return directory_; }
  /// Swaps the last two dimensions of a tensor of three, which then owns its bytes.
  void transpose(std::string_view name);
  std::size_t bytes() const;

 private:
  void add_file(const fs::path& path, const WeightFormat& format);
  void add_shards(const fs::path& index_file, const WeightFormat& format);
  fs::path directory_;
  std::vector<TensorEntry> tensors_;
  std::vector<std::shared_ptr<const MappedFile>> files_;
  std::map<std::string, std::size_t, std::less<>> by_name_;
};

/// One tensor of the layout and where it was found.
struct BoundTensor {
  FileTensor wanted;
  const TensorEntry* found;
};

/// The tensor of this name, or of the name without the family's optional prefix; null if absent.
const TensorEntry* find_stored(const ModelSpec& spec, const CheckpointIndex& index,
                               std::string_view name);

/// The name in files of a slot outside the layers, such as "head.weight".
std::string_view stored_name(const ModelSpec& spec, std::string_view slot);

/// Finds every tensor that `spec` asks for, experts in either layout; a tied embedding may be
/// stored under the head's name. Throws Error naming the tensor that is missing, has another shape,
/// is not f32, f16 or bf16, or that no row uses or ignores. Valid while `index` is.
std::vector<BoundTensor> bind_checkpoint(const ModelSpec& spec, const CheckpointIndex& index);

}  // namespace moebius
