// The safetensors format: reading the index of one file, writing the header of another.
// A file is a little-endian u64 header length, a JSON header, then the data.
#pragma once

#include <string>
#include <vector>

#include "base/dtype.h"
#include "base/files.h"
#include "config/weights.h"

namespace moebius {

/// A tensor of a mapped file. `data` lives as long as `file` and `owned`.
struct TensorEntry {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;  ///< may be empty for a scalar
  std::shared_ptr<const MappedFile> file;
  std::shared_ptr<const std::vector<std::byte>> owned;  ///< set for a copy in another order
  const std::byte* data = nullptr;                      ///< in `owned` if that is set
  std::size_t bytes = 0;

  std::int64_t elements() const { return static_cast<std::int64_t>(bytes / size_of(dtype)); }
};

/// Reads and checks a header: lengths, offsets inside the file and not overlapping, shapes that
/// agree with sizes, names given once. In the order of the data. Throws Error naming file, tensor.
std::vector<TensorEntry> read_safetensors(const fs::path& path);
std::vector<TensorEntry> read_safetensors(const std::shared_ptr<const MappedFile>& file);

/// Throws Error, naming `where`, for a name longer than any tensor's, which could fill the memory
/// when copied.
void check_tensor_name(std::string_view name, std::string_view where);

/// Throws Error naming file, tensor and element if one of `count` elements from `begin` on is NaN
/// or infinite.
void check_finite(const TensorEntry& entry, std::size_t begin, std::size_t count);

/// A tensor to write; `offset` counts bytes from the start of the data.
struct TensorPlan {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;
  std::size_t offset = 0, bytes = 0;
};

/// Length field and header, padded so that the data begins at a multiple of 64 bytes; metadata
/// `format: pt`, without which transformers refuses a file.
std::string safetensors_header(const std::vector<TensorPlan>& tensors);

}  // namespace moebius
