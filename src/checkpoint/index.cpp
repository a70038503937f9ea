#include "checkpoint/index.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "checkpoint/gguf_file.h"
#include "checkpoint/packed.h"
#include "checkpoint/torch_file.h"

namespace moebius {
std::span<const WeightFormat> weight_formats() {
  static constexpr WeightFormat formats[] = {
      {"model.safetensors", "model.safetensors.index.json", read_safetensors},
      {"pytorch_model.bin", "pytorch_model.bin.index.json", read_torch_file},
      {"model.gguf", "", read_gguf},
  };
  return formats;
}

std::map<std::string, std::string> read_weight_map(const fs::path& index_file) {
  const Json json = parse_json_file(index_file);
  const JsonView map = JsonView(json, index_file.string()).object("weight_map");
  std::map<std::string, std::string> files;
  for (const auto& [name, file] : map.json().items()) {
    if (!file.is_string()) map.fail_key(name, "is not a file name");
    const auto text = file.get<std::string>();
    if (text.empty() || text == "." || text == ".." || text.find('/') != std::string::npos) {
      map.fail_key(name, fmt::format("points to \"{}\", not to a file beside the index", text));
    }
    files.emplace(name, text);
  }
  if (files.empty()) fail("{}: weight_map is empty", index_file.string());
  return files;
}

CheckpointIndex CheckpointIndex::open(const fs::path& directory) {
  CheckpointIndex index;
  index.directory_ = directory;
  for (const WeightFormat& format : weight_formats()) {
    if (fs::exists(directory / format.file)) {
      index.add_file(directory / format.file, format);
      return index;
    }
    if (!format.index.empty() && fs::exists(directory / format.index)) {
      index.add_shards(directory / format.index, format);
      return index;
    }
  }
  if (has_packed_weights(directory)) {
    throw Error(
        fmt::format("{}: its weights are packed for generate, eval and bench", directory.string()),
        "use the model that it was made from");
  }
  fail(
      "{}: neither model.safetensors nor model.safetensors.index.json nor pytorch_model.bin is "
      "there",
      directory.string());
}

void CheckpointIndex::add_shards(const fs::path& index_file, const WeightFormat& format) {
  const auto weight_map = read_weight_map(index_file);
  std::set<std::string> files;
  for (const auto& [name, file] : weight_map) files.insert(file);
  for (const std::string& file : files) {
    if (!fs::exists(directory_ / file)) {
      throw Error(fmt::format("{}: shard {} is absent", index_file.string(), file),
                  "fetch the missing file");
    }
    add_file(directory_ / file, format);
  }
  for (const auto& [name, file] : weight_map) {
    const TensorEntry* entry = find(name);
    if (entry == nullptr || entry->file->path().filename() != file) {
      fail("{}: tensor {} is not in {} as the index says", index_file.string(), name, file);
    }
  }
}

void CheckpointIndex::add_file(const fs::path& path, const WeightFormat& format) {
  std::shared_ptr<const MappedFile> file;
  for (TensorEntry& entry : format.read(path)) {
    const auto [at, fresh] = by_name_.try_emplace(entry.name, tensors_.size());
    if (!fresh) {
      fail("{}: tensor {} stands in {} too", path.string(), entry.name,
           tensors_[at->second].file->path().filename().string());
    }
    file = entry.file;
    tensors_.push_back(std::move(entry));
  }
  files_.push_back(file != nullptr ? file : MappedFile::open(path));
}

const TensorEntry* CheckpointIndex::find(std::string_view name) const {
  const auto at = by_name_.find(name);
  return at == by_name_.end() ? nullptr : &tensors_[at->second];
}

std::size_t CheckpointIndex::bytes() const {
  std::size_t sum = 0;
  for (const TensorEntry& tensor : tensors_) sum += tensor.bytes;
  return sum;
}

void CheckpointIndex::transpose(std::string_view name) {
  TensorEntry& tensor = tensors_[by_name_.at(std::string(name))];
  const std::size_t item = size_of(tensor.dtype), rows = static_cast<std::size_t>(tensor.shape[1]),
                    columns = static_cast<std::size_t>(tensor.shape[2]);
  auto bytes = std::make_shared<std::vector<std::byte>>(tensor.bytes);
  const std::byte* from = tensor.data;
  for (std::int64_t e = 0; e < tensor.shape[0]; ++e) {
    std::byte* to = bytes->data() + static_cast<std::size_t>(e) * rows * columns * item;
    for (std::size_t r = 0; r < rows; ++r) {
      for (std::size_t c = 0; c < columns; ++c, from += item) {
        std::memcpy(to + (c * rows + r) * item, from, item);
      }
    }
  }
  std::swap(tensor.shape[1], tensor.shape[2]);
  tensor.data = bytes->data();
  tensor.owned = std::move(bytes);
}

const TensorEntry* find_stored(const ModelSpec& spec, const CheckpointIndex& index,
                               std::string_view name) {
  const TensorEntry* found = index.find(name);
  const std::string_view prefix = family_of(spec.family, "model").optional_prefix;
  if (found != nullptr || !name.starts_with(prefix)) return found;
  return index.find(name.substr(prefix.size()));
}

std::string_view stored_name(const ModelSpec& spec, std::string_view slot) {
  for (const NameRule& rule : family_of(spec.family, "model").rules) {
    if (rule.slot == slot) return rule.name;
  }
  fail("family {} has no name for {}", spec.family, slot);
}

std::vector<BoundTensor> bind_checkpoint(const ModelSpec& spec, const CheckpointIndex& index) {
  const Family& family = family_of(spec.family, index.directory().string());
  const std::string_view head = stored_name(spec, "head.weight");
  const auto find = [&](std::string_view name) { return find_stored(spec, index, name); };
  std::vector<BoundTensor> bound;
  std::set<const TensorEntry*> used;
  for (FileTensor& wanted :
       stored_layout(spec, [&](std::string_view name) { return find(name) != nullptr; })) {
    const TensorEntry* found = find(wanted.name);
    if (found == nullptr && spec.tied && wanted.slots[0] == "embed.weight") {
      found = index.find(head);
    }
    if (found == nullptr) {
      fail("{}: tensor {} {} is missing", index.directory().string(), wanted.name,
           to_string(wanted.shape));
    }
    if (found->shape != wanted.shape) {
      fail("{}: tensor {} has shape {}, the configuration asks for {}",
           found->file->path().string(), found->name, to_string(found->shape),
           to_string(wanted.shape));
    }
    if (!is_weight_dtype(found->dtype)) {
      fail("{}: tensor {} has dtype {}; weights are F32, F16 or BF16", found->file->path().string(),
           found->name, safetensors_name(found->dtype));
    }
    used.insert(found);
    bound.push_back({std::move(wanted), found});
  }
  for (const TensorEntry& tensor : index.tensors()) {
    if (used.contains(&tensor) || tensor.bytes == 0) continue;  // a part of width 0 is no part
    if (spec.tied && tensor.name == head) continue;             // equal to the embedding
    const bool ignored =
        std::any_of(family.ignored.begin(), family.ignored.end(),
                    [&](std::string_view pattern) { return matches(pattern, tensor.name); });
    if (!ignored) {
      throw Error(fmt::format("{}: tensor {} {} belongs to no part of a {} model",
                              tensor.file->path().string(), tensor.name, to_string(tensor.shape),
                              family.model_type),
                  "config.json and weights may be of different models");
    }
  }
  return bound;
}

}  // namespace moebius
