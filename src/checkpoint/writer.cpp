#include "checkpoint/writer.h"

#include <charconv>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace moebius {

std::size_t parse_size(std::string_view text, std::string_view option) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const std::string_view unit = text.substr(static_cast<std::size_t>(end - text.data()));
  constexpr std::pair<std::string_view, double> units[] = {
      {"", 1},      {"B", 1},        {"KB", 1e3},     {"MB", 1e6},    {"GB", 1e9},
      {"TB", 1e12}, {"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30}};
  for (const auto& [name, factor] : units) {
    if (error == std::errc() && unit == name && value > 0 && value * factor < 0x1p60) {
      return static_cast<std::size_t>(value * factor);
    }
  }
  throw UsageError(fmt::format("{} {}: not a size such as 5GB or 300MB", option, text));
}

ShardedWriter::ShardedWriter(const fs::path& directory, const std::vector<TensorMeta>& tensors,
                             std::size_t max_shard_bytes)
    : directory_(directory) {
  std::vector<std::vector<TensorPlan>> plans(1);
  std::size_t used = 0;
  for (const TensorMeta& tensor : tensors) {
    const std::size_t bytes =
        static_cast<std::size_t>(tensor.shape.empty() ? 1 : element_count(tensor.shape)) *
        size_of(tensor.dtype);
    if (used > 0 && used + bytes > max_shard_bytes) {
      plans.emplace_back();
      used = 0;
    }
    places_.push_back({plans.size() - 1, used, bytes});
    names_.push_back(tensor.name);
    plans.back().push_back({tensor.name, tensor.dtype, tensor.shape, used, bytes});
    used += bytes;
    total_ += bytes;
  }
  check_free_space(directory, total_);
  std::vector<std::size_t> data_begin;
  for (std::size_t s = 0; s < plans.size(); ++s) {
    const std::string name =
        plans.size() == 1 ? "model.safetensors"
                          : fmt::format("model-{:05}-of-{:05}.safetensors", s + 1, plans.size());
    const std::string header = safetensors_header(plans[s]);
    shards_.emplace_back(directory / name);
    shards_.back().append(header);
    data_begin.push_back(header.size());
  }
  for (Place& place : places_) place.offset += data_begin[place.shard];
}

void ShardedWriter::write(std::size_t tensor, std::size_t offset,
                          std::span<const std::byte> bytes) {
  const Place& place = places_.at(tensor);
  if (offset + bytes.size() > place.bytes) fail("{}: more bytes than announced", names_[tensor]);
  shards_[place.shard].write_at(place.offset + offset, bytes);
  written_ += bytes.size();
}

void ShardedWriter::finish() {
  if (written_ != total_) {
    fail("{}: {} of {} bytes were written", directory_.string(), written_.load(), total_);
  }
  if (shards_.size() == 1) return;
  nlohmann::json index;  // sorted: tens of thousands of names
  index["metadata"]["total_size"] = total_;
  for (std::size_t t = 0; t < names_.size(); ++t) {
    index["weight_map"][names_[t]] = shards_[places_[t].shard].path().filename().string();
  }
  OutputFile(directory_ / "model.safetensors.index.json").append(index.dump(2) + "\n");
}

}  // namespace moebius
