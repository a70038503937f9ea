#include "checkpoint/gguf_file.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "base/error.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "checkpoint/gguf_model.h"

namespace moebius {
namespace {

using Bytes = std::vector<std::byte>;

/// The data of a slot, with rows in the order of a checkpoint: in the mapped file or in `owned`.
struct SlotData {
  const GgufTensor* tensor = nullptr;
  DType dtype = DType::f32;
  std::shared_ptr<const Bytes> owned;
  const std::byte* data = nullptr;
  std::size_t bytes = 0;
};

class GgufFile {
 public:
  explicit GgufFile(std::shared_ptr<const MappedFile> file)
      : file_(std::move(file)),
        header_(parse_gguf(file_->bytes(), file_->path().string())),
        spec_(parse_model_spec(config_of_gguf(header_, file_->bytes()), header_.where)) {
    for (const GgufTensor& tensor : header_.tensors) by_name_[tensor.name] = &tensor;
    require_memory_for_f32();
    const auto shapes = weight_shapes(spec_);
    for_each_weight(
        [&](const std::string& slot, const Shape& shape) {
          if (!shape.empty()) slots_.emplace(slot, load(slot, shape));
        },
        shapes);
    for (const GgufTensor& tensor : header_.tensors) {
      if (used_.contains(&tensor) || tensor.name == gguf_rope_factors) continue;
      fail("{}: tensor {} {} belongs to no part of a {} model", header_.where, tensor.name,
           to_string(tensor.shape), spec_.family);
    }
  }

  std::vector<TensorEntry> entries() const {
    std::vector<std::pair<std::size_t, TensorEntry>> placed;  // by position in the file
    for (const FileTensor& wanted : file_layout(spec_)) {
      const SlotData& first = slots_.at(wanted.slots[0]);
      TensorEntry entry;
      entry.name = wanted.name;
      entry.dtype = first.dtype;
      entry.shape = wanted.shape;
      entry.file = file_;
      entry.bytes = static_cast<std::size_t>(element_count(wanted.shape)) * size_of(first.dtype);
      const std::size_t skipped =
          wanted.expert < 0 ? 0 : entry.bytes * static_cast<std::size_t>(wanted.expert);
      if (wanted.slots.size() == 1) {
        entry.owned = first.owned;
        entry.data = first.data + skipped;
      } else {
        entry.owned = joined(wanted);
        entry.data = entry.owned->data();
      }
      placed.emplace_back(first.tensor->offset + skipped, std::move(entry));
    }
    std::stable_sort(placed.begin(), placed.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    std::vector<TensorEntry> out;
    for (auto& [place, entry] : placed) out.push_back(std::move(entry));
    return out;
  }

 private:
  void require_memory_for_f32() const {
    std::int64_t bytes = 0;
    for (const GgufTensor& tensor : header_.tensors) {
      if (is_quantized(tensor.type)) bytes += element_count(tensor.shape) * 4;
    }
    if (bytes == 0) return;
    require_memory(bytes, fmt::format("{}: its tensors in f32", header_.where),
                   "use a smaller model, or a machine with more memory");
  }

  SlotData load(const std::string& slot, const Shape& shape) {
    const std::string name = gguf_name(slot);
    const auto at = by_name_.find(name);
    if (at == by_name_.end()) {
      fail("{}: tensor {} {} is missing", header_.where, name, to_string(shape));
    }
    const GgufTensor& tensor = *at->second;
    const bool flat = shape.size() == 2 && shape[0] == 1 && tensor.shape == Shape{shape[1]};
    if (tensor.shape != shape && !flat) {
      fail("{}: tensor {} has shape {}, the metadata asks for {}", header_.where, name,
           to_string(tensor.shape), to_string(shape));
    }
    used_.insert(&tensor);
    SlotData out{&tensor, dtype_of(tensor.type), nullptr, file_->bytes().data() + tensor.offset,
                 tensor.bytes};
    if (is_quantized(tensor.type)) own(out, dequantized(out));
    if (gguf_interleaves(spec_, slot)) own(out, in_halves(out));
    return out;
  }

  static void own(SlotData& slot, Bytes bytes) {
    slot.bytes = bytes.size();
    slot.owned = std::make_shared<const Bytes>(std::move(bytes));
    slot.data = slot.owned->data();
  }

  /// The tensor as f32. Threads take whole rows.
  static Bytes dequantized(const SlotData& slot) {
    const GgufTensor& tensor = *slot.tensor;
    const std::size_t row_bytes = gguf_row_bytes(tensor.type, tensor.shape.back());
    const auto columns = static_cast<std::size_t>(tensor.shape.back());
    const auto count = static_cast<std::size_t>(element_count(tensor.shape));
    Bytes out(count * sizeof(float));
    auto* values = reinterpret_cast<float*>(out.data());
    const int threads = static_cast<int>(std::thread::hardware_concurrency());
    parallel_for(count, threads, [&](std::size_t begin, std::size_t end) {
      for (std::size_t row = begin / columns; row < end / columns; ++row) {
        dequantize(tensor.type, slot.data + row * row_bytes, columns, values + row * columns);
      }
    });
    return out;
  }

  /// The rows de-interleaved: those of the first half of every head, then those of the second.
  Bytes in_halves(const SlotData& slot) const {
    const std::int64_t rows = slot.tensor->shape.front();
    const std::size_t row_bytes = slot.bytes / static_cast<std::size_t>(rows);
    Bytes out(slot.bytes);
    for (std::int64_t row = 0; row < rows; ++row) {
      const auto to = static_cast<std::size_t>(interleaved_row(row, spec_.head_dim));
      std::memcpy(out.data() + to * row_bytes,
                  slot.data + static_cast<std::size_t>(row) * row_bytes, row_bytes);
    }
    return out;
  }

  /// The slots of one stored tensor, concatenated along rows within every expert.
  std::shared_ptr<const Bytes> joined(const FileTensor& wanted) const {
    auto out = std::make_shared<Bytes>();
    const auto experts = wanted.shape.size() == 3 ? static_cast<std::size_t>(wanted.shape[0]) : 1;
    const DType dtype = slots_.at(wanted.slots[0]).dtype;
    for (std::size_t e = 0; e < experts; ++e) {
      for (const std::string& name : wanted.slots) {
        const SlotData& slot = slots_.at(name);
        if (slot.dtype != dtype) {
          fail("{}: tensors {} and {} have different types", header_.where,
               slots_.at(wanted.slots[0]).tensor->name, slot.tensor->name);
        }
        const std::size_t share = slot.bytes / experts;
        out->insert(out->end(), slot.data + e * share, slot.data + (e + 1) * share);
      }
    }
    return out;
  }

  std::shared_ptr<const MappedFile> file_;
  GgufHeader header_;
  ModelSpec spec_;
  std::map<std::string_view, const GgufTensor*> by_name_;
  std::set<const GgufTensor*> used_;
  std::map<std::string, SlotData> slots_;
};

}  // namespace

std::vector<TensorEntry> read_gguf(const fs::path& path) {
  // In an unpacked directory the file is a symbolic link to the one that the user named.
  return read_gguf(MappedFile::open(fs::canonical(path)));
}

std::vector<TensorEntry> read_gguf(const std::shared_ptr<const MappedFile>& file) {
  return GgufFile(file).entries();
}

}  // namespace moebius
