#include "checkpoint/index.h"

#include <algorithm>
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

std::vector<BoundTensor> bind_checkpoint(const ModelSpec& spec, const CheckpointIndex& index) {
  const Family& family = family_of(spec.family, index.directory().string());
  const std::string_view prefix = family.optional_prefix;
  std::vector<BoundTensor> bound;
  std::set<const TensorEntry*> used;
  for (FileTensor& wanted : file_layout(spec)) {
    const TensorEntry* found = index.find(wanted.name);
    if (found == nullptr && wanted.name.starts_with(prefix)) {
      found = index.find(std::string_view(wanted.name).substr(prefix.size()));
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
    if (used.contains(&tensor) || tensor.bytes == 0) continue;   // a part of width 0 is no part
    if (spec.tied && tensor.name == "lm_head.weight") continue;  // a stored copy of the embedding
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
